//! `gatescan recipes`: the built-in recipes.

use clap::Args;
use gatescan::error::Result;
use gatescan::recipe::{BUILTINS, Builtin};

use super::console::Console;

/// List the built-in recipes, or print one to copy and edit.
#[derive(Args)]
#[command(after_help = "\
Examples:
  gatescan recipes
  gatescan recipes mnist > mine.toml")]
pub struct Recipes {
    /// Print this one as TOML.
    name: Option<String>,
}

impl Recipes {
    pub fn run(&self, console: &Console) -> Result<()> {
        let text = match &self.name {
            Some(name) => Builtin::find(name)?.toml.trim_end().to_string(),
            None => BUILTINS
                .map(|builtin| format!("{:<11}{}", builtin.name, builtin.summary()))
                .join("\n"),
        };
        let _ = console.print(text)?;
        Ok(())
    }
}
