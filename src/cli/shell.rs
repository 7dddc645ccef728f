//! `gatescan completions` and `gatescan man`: completions for shells, and manual pages.

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use gatescan::{Error, Result};

use super::Cli;
use super::console::Console;

/// Print completions for a shell.
#[derive(Args)]
#[command(after_help = "\
Examples:
  gatescan completions bash > ~/.local/share/bash-completion/completions/gatescan
  gatescan completions zsh > ~/.zfunc/_gatescan
  gatescan completions fish > ~/.config/fish/completions/gatescan.fish
  gatescan completions powershell >> $PROFILE")]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub fn run(&self, console: &Console) -> Result<()> {
        let mut script = vec![];
        clap_complete::generate(self.shell, &mut Cli::command(), "gatescan", &mut script);
        show(console, &script)
    }
}

/// Print the manual page of gatescan, or of one of its commands.
#[derive(Args)]
#[command(after_help = "\
Examples:
  gatescan man | man -l -
  gatescan man train > ~/.local/share/man/man1/gatescan-train.1")]
pub struct Manual {
    /// A command [default: gatescan itself].
    command: Option<String>,
}

impl Manual {
    pub fn run(&self, console: &Console) -> Result<()> {
        let mut cli = Cli::command();
        // Completes the commands' usage lines, which begin with `gatescan`.
        cli.build();
        let page = match &self.command {
            None => cli,
            Some(name) => {
                let names = cli.get_subcommands().map(Command::get_name);
                let names = names.collect::<Vec<_>>().join(", ");
                let found = cli.find_subcommand(name).cloned();
                found.ok_or_else(|| {
                    Error::usage(format!("there is no command `{name}`; there are {names}"))
                })?
            }
        };
        let mut text = vec![];
        // Writing to memory does not fail.
        let _ = Man::new(page).render(&mut text);
        show(console, &text)
    }
}

fn show(console: &Console, text: &[u8]) -> Result<()> {
    let _ = console.print(String::from_utf8_lossy(text).trim_end())?;
    Ok(())
}
