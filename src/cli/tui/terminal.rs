//! Taking the terminal and restoring it, the thread that draws, and the keys.

use std::fmt::Display;
use std::io::{self, IsTerminal, stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gatescan::train::Position;
use gatescan::{Error, Event, Result};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::crossterm::{self, execute};

use super::drawing::draw;
use super::state::ScreenState;
use crate::cli::console::{Console, OutputStream, write_line};
use crate::cli::train::interrupt;

/// The shortest time between two drawings.
const TICK: Duration = Duration::from_millis(100);
/// The name of the thread that draws.
const THREAD: &str = "tui";

/// The state of the screen, shared by training, the thread that draws, and the console.
#[derive(Clone, Default)]
pub struct ScreenHandle(Arc<SharedScreen>);

#[derive(Default)]
struct SharedScreen {
    /// The state while the terminal is taken.
    shown: Mutex<Option<ScreenState>>,
    /// Locked by the thread that writes to the terminal.
    drawing: Mutex<()>,
}

/// Locks a mutex, also one that a panic has poisoned: none of the values can be left half written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ScreenHandle {
    /// Keeps a line if the terminal is taken. Returns whether it is.
    pub fn hold(&self, stream: OutputStream, line: &impl Display) -> bool {
        let mut shown = lock(&self.0.shown);
        shown
            .as_mut()
            .map(|state| state.print(stream, line))
            .is_some()
    }

    /// Restores the terminal and prints the kept lines. Does nothing the second time.
    pub fn restore(&self) {
        // The thread that draws has locked this already when it panics.
        let is_drawing = thread::current().name() == Some(THREAD);
        let _drawing = (!is_drawing).then(|| lock(&self.0.drawing));
        let Some(state) = lock(&self.0.shown).take() else {
            return;
        };
        // A closed terminal cannot be restored.
        let _ = disable_raw_mode();
        let _ = execute!(stdout(), LeaveAlternateScreen, Show);
        for (stream, line) in state.into_lines() {
            let _ = write_line(stream, &line);
        }
    }
}

/// The terminal, taken until this is dropped.
pub struct Screen {
    console: Console,
    thread: Option<JoinHandle<()>>,
}

impl Screen {
    /// Checks that the terminal can be taken.
    ///
    /// # Errors
    /// [`Error::Usage`] where standard output is not a terminal, or the console is quiet.
    pub fn check(console: &Console) -> Result<()> {
        if console.is_quiet() {
            return Err(Error::usage(
                "--tui shows what --quiet leaves out: use one of them",
            ));
        }
        if stdout().is_terminal() {
            return Ok(());
        }
        Err(Error::usage(
            "--tui needs a terminal, and standard output is none; without --tui the run prints \
             lines",
        ))
    }

    /// Takes the terminal to show `state`. Keys set `stop`.
    ///
    /// # Errors
    /// [`Error::Failed`] where the terminal cannot be taken; it is restored then.
    pub fn open(console: &Console, state: ScreenState, stop: Arc<AtomicBool>) -> Result<Screen> {
        restore_on_panic(console.screen().clone());
        let failed = |error: io::Error| {
            Error::Failed(format!("--tui: the terminal cannot be used: {error}"))
        };
        // A closed terminal is a reason to save the run, and these signals must leave a restored
        // terminal.
        #[cfg(unix)]
        for signal in [signal_hook::consts::SIGHUP, signal_hook::consts::SIGQUIT] {
            signal_hook::flag::register(signal, stop.clone()).map_err(failed)?;
        }
        *lock(&console.screen().0.shown) = Some(state);
        // Dropped on an error below, it restores the terminal.
        let mut screen = Screen {
            console: console.clone(),
            thread: None,
        };
        enable_raw_mode().map_err(failed)?;
        execute!(stdout(), EnterAlternateScreen).map_err(failed)?;
        let mut terminal = Terminal::new(CrosstermBackend::new(stdout())).map_err(failed)?;
        let thread = thread::Builder::new().name(THREAD.into());
        let console = console.clone();
        let draw_turns = move || {
            while let Some(drawn) = turn(&mut terminal, &console, &stop).transpose() {
                if drawn.is_err() {
                    // The terminal is closed.
                    stop.store(true, Ordering::Relaxed);
                    return;
                }
            }
        };
        screen.thread = Some(thread.spawn(draw_turns).map_err(failed)?);
        Ok(screen)
    }

    /// Updates the state by an event of a run of `last_step` updates at `position`.
    pub fn show(&self, event: Event, position: &Position, last_step: usize) {
        if let Some(state) = lock(&self.console.screen().0.shown).as_mut() {
            state.update(event, position, last_step, Instant::now());
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.console.screen().restore();
        if let Some(thread) = self.thread.take() {
            // The panic hook has reported a panic of the thread.
            let _ = thread.join();
        }
    }
}

/// Restores the terminal before a panic is reported.
fn restore_on_panic(screen: ScreenHandle) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            screen.restore();
            report(panic);
        }));
    });
}

/// Reads keys until it is time to draw, and draws if anything has changed. Returns `None` when the
/// terminal has been restored.
fn turn(
    terminal: &mut Terminal<CrosstermBackend<io::Stdout>>,
    console: &Console,
    stop: &AtomicBool,
) -> io::Result<Option<()>> {
    let is_resized = read_events(console, stop)?;
    let shared = &console.screen().0;
    let _drawing = lock(&shared.drawing);
    // A copy, so that training never waits for the terminal.
    let state = match lock(&shared.shown).as_mut() {
        None => return Ok(None),
        Some(state) => state.take_changes(is_resized, stop.load(Ordering::Relaxed)),
    };
    if let Some(state) = state {
        terminal.draw(|frame| draw(frame, &state))?;
    }
    Ok(Some(()))
}

/// Reads keys for a tick. Returns whether the terminal was resized.
fn read_events(console: &Console, stop: &AtomicBool) -> io::Result<bool> {
    let until = Instant::now() + TICK;
    let mut is_resized = false;
    while event::poll(until.saturating_duration_since(Instant::now()))? {
        match event::read()? {
            crossterm::event::Event::Key(key) if key.kind != KeyEventKind::Release => {
                handle_key(key, console, stop);
            }
            crossterm::event::Event::Resize(..) => is_resized = true,
            _ => {}
        }
    }
    Ok(is_resized)
}

/// In raw mode Ctrl-C is a key. It ends the program the second time; `q` does not, since it may be
/// held down.
fn handle_key(key: KeyEvent, console: &Console, stop: &AtomicBool) {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c') if control => interrupt(console, stop),
        KeyCode::Char('q' | 'Q') if !stop.load(Ordering::Relaxed) => interrupt(console, stop),
        _ => {}
    }
}
