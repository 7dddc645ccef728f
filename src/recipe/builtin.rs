//! The built-in recipes.

use crate::error::{Error, Result};
use crate::messages::{did_you_mean, listed};

/// A built-in recipe.
#[derive(Debug)]
pub struct Builtin {
    pub name: &'static str,
    /// The file, with its comments.
    pub toml: &'static str,
}

/// Makes the built-in recipes of these names, which are also the names of their files.
macro_rules! builtins {
    ($($name:literal),+ $(,)?) => {
        [$(Builtin {
            name: $name,
            toml: include_str!(concat!("recipes/", $name, ".toml")),
        }),+]
    };
}

/// The built-in recipes.
pub const BUILTINS: [Builtin; 8] = builtins![
    "mnist",
    "mnist-rnn",
    "mnist-gru",
    "mnist-lstm",
    "mnist-scan",
    "mnist-ctc",
    "series",
    "text",
];

impl Builtin {
    /// Returns the built-in recipe of that name.
    ///
    /// # Errors
    /// [`Error::Usage`] that suggests the nearest name and lists all.
    pub fn find(name: &str) -> Result<&'static Builtin> {
        let mut builtins = BUILTINS.iter();
        builtins
            .find(|builtin| builtin.name == name)
            .ok_or_else(|| {
                let names = BUILTINS.map(|builtin| builtin.name);
                Error::usage(format!(
                    "there is no recipe `{name}`{}; use {}, or the path of a TOML file",
                    did_you_mean(name, &names),
                    listed(&names)
                ))
            })
    }

    /// Returns a sentence on what it trains: the comment in the first line of the file.
    pub fn summary(&self) -> &'static str {
        let first = self.toml.lines().next().unwrap_or_default();
        first.trim_start_matches(['#', ' '])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;

    #[test]
    fn builtins_are_valid_and_can_be_written_and_read() {
        for builtin in &BUILTINS {
            let recipe = Recipe::load(builtin.name).unwrap();
            assert_eq!(recipe.name, builtin.name);
            recipe.validate().unwrap();
            let text = recipe.to_toml().unwrap();
            assert!(text.contains("lr = 0.0"), "{text}");
            assert_eq!(Recipe::parse(&text, "printed").unwrap(), recipe);
            let json = serde_json::to_string(&recipe).unwrap();
            assert_eq!(serde_json::from_str::<Recipe>(&json).unwrap(), recipe);
            assert!(builtin.summary().ends_with('.'));
        }
    }

    #[test]
    fn unknown_recipes_suggest_the_nearest() {
        let message = Recipe::load("mnsit").unwrap_err().to_string();
        assert!(message.contains("did you mean `mnist`?"), "{message}");
        assert!(
            message.contains(
                "`mnist`, `mnist-rnn`, `mnist-gru`, `mnist-lstm`, `mnist-scan`, `mnist-ctc`, `series` \
                 or `text`"
            ),
            "{message}"
        );
        let error = Recipe::load("none.toml").unwrap_err();
        assert!(
            error.to_string().starts_with("none.toml: cannot be read"),
            "{error}"
        );
    }
}
