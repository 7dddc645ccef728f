//! The requests of the page, and their answers.

use std::path::Path;

use gatescan::low_level::io::{in_memory, memory_limit};
use gatescan::web::{CpuPlayer, PlayedTensor, RecordedRun, SiteOptions, record};
use gatescan::{Error, Recipe};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::proposal::{ColumnHints, proposal};

/// The most bytes that a file may take unpacked and prepared: a module has at most 4 GiB for all.
const MOST_BYTES: u64 = 1 << 29;

/// A request.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "camelCase")]
enum Request {
    /// The version of the library.
    Version,
    /// Looks at the file of this name, whose contents are the bytes, and proposes a recipe for it.
    Propose { name: String, hints: ColumnHints },
    /// Records a recipe, a text, for the file, and plays its first updates on the CPU. The answer's
    /// bytes are `program.json`, of the length that it says, and `data.bin`.
    Record { recipe: String, checked: usize },
    /// Loads the recorded run on the CPU.
    Load,
    /// Writes the bytes into a tensor.
    Write {
        program: usize,
        tensor: PlayedTensor,
    },
    /// Runs phases, the whole list so many times.
    Run {
        program: usize,
        phases: Vec<String>,
        times: usize,
    },
    /// Copies tensors to others of the same lengths.
    Copy {
        program: usize,
        pairs: Vec<[PlayedTensor; 2]>,
    },
    /// The bytes of tensors, one after the other.
    Read {
        program: usize,
        tensors: Vec<PlayedTensor>,
    },
}

/// What remains between two requests.
#[derive(Default)]
pub struct Session {
    recorded: Option<RecordedRun>,
    player: Option<CpuPlayer>,
}

/// An answer: JSON and bytes.
type Answer = (Value, Vec<u8>);

/// Returns the bytes of the answer to the bytes of a request. An error is an answer too: its text
/// is `error`.
pub fn answer_to(bytes: &[u8], session: &mut Session) -> Vec<u8> {
    let answered = parsed(bytes).and_then(|(request, bytes)| session.handle(request, bytes));
    let (value, bytes) = answered.unwrap_or_else(|error| (json!({ "error": error }), vec![]));
    let value = value.to_string();
    let mut answer = (value.len() as u32).to_le_bytes().to_vec();
    answer.extend(value.into_bytes());
    answer.extend(bytes);
    answer
}

/// The request and its bytes.
fn parsed(bytes: &[u8]) -> Result<(Request, &[u8]), String> {
    let short = || "the request is too short".to_string();
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(short)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (request, bytes) = rest.split_at_checked(length).ok_or_else(short)?;
    let request = serde_json::from_slice(request).map_err(|error| error.to_string())?;
    Ok((request, bytes))
}

impl Session {
    fn handle(&mut self, request: Request, bytes: &[u8]) -> Result<Answer, String> {
        let said = |error: Error| error.to_string();
        match request {
            Request::Version => Ok((json!({ "version": env!("CARGO_PKG_VERSION") }), vec![])),
            Request::Propose { name, hints } => {
                memory_limit::set_limit(MOST_BYTES);
                in_memory::remove_files();
                in_memory::put_file(&name, bytes);
                Ok((proposal(Path::new(&name), &hints)?, vec![]))
            }
            Request::Record { recipe, checked } => {
                let recorded = recorded(&recipe, checked).map_err(said)?;
                self.player = None;
                let bytes = [&recorded.description[..], &recorded.data].concat();
                let answer = json!({ "description": recorded.description.len() });
                self.recorded = Some(recorded);
                Ok((answer, bytes))
            }
            Request::Load => {
                let recorded = self.recorded.as_ref().ok_or("nothing is recorded")?;
                self.player = None;
                self.player = Some(CpuPlayer::new(recorded).map_err(said)?);
                Ok((json!({}), vec![]))
            }
            Request::Write { program, tensor } => {
                let words = bytes.as_chunks::<4>().0.iter();
                let words: Vec<u32> = words.map(|word| u32::from_le_bytes(*word)).collect();
                let written = self.player()?.write(program, tensor, &words);
                written.map(|()| (json!({}), vec![])).map_err(said)
            }
            Request::Run {
                program,
                phases,
                times,
            } => {
                let ran = self.player()?.run(program, &phases, times);
                ran.map(|()| (json!({}), vec![])).map_err(said)
            }
            Request::Copy { program, pairs } => {
                for [from, to] in pairs {
                    let player = self.player()?;
                    let words = player.read(program, from).map_err(said)?;
                    player.write(program, to, &words).map_err(said)?;
                }
                Ok((json!({}), vec![]))
            }
            Request::Read { program, tensors } => {
                let mut bytes = vec![];
                for tensor in tensors {
                    let words = self.player()?.read(program, tensor).map_err(said)?;
                    bytes.extend(words.into_iter().flat_map(u32::to_le_bytes));
                }
                Ok((json!({}), bytes))
            }
        }
    }

    fn player(&mut self) -> Result<&mut CpuPlayer, String> {
        let player = self.player.as_mut();
        player.ok_or_else(|| "no run is loaded on the CPU".to_string())
    }
}

/// Records the run of a recipe, whose data are the file.
fn recorded(recipe: &str, checked_steps: usize) -> Result<RecordedRun, Error> {
    let recipe = Recipe::parse(recipe, "the recipe")?;
    recipe.validate()?;
    let data = recipe.load_splits(None)?;
    let options = SiteOptions {
        checked_steps,
        ..SiteOptions::default()
    };
    record(&recipe, &data, &options)
}
