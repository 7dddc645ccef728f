//! The tokens of a text.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::messages::excerpt;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Unit {
    /// A Unicode scalar value.
    #[default]
    Char,
    /// A byte, of any file.
    Byte,
    /// Consecutive letters and digits, with the space before them if there is one. Each other
    /// character is a token of its own.
    Word,
}

impl Unit {
    /// Returns `character`, `byte` or `word`.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Char => "character",
            Unit::Byte => "byte",
            Unit::Word => "word",
        }
    }

    /// Splits a text into the strings of its tokens; into characters if the unit is a byte.
    pub(super) fn tokenize(self, text: &str) -> impl Iterator<Item = &str> {
        let mut rest = text;
        std::iter::from_fn(move || {
            let first = rest.chars().next()?;
            let end = match self {
                Unit::Word => word_end(rest),
                Unit::Char | Unit::Byte => first.len_utf8(),
            };
            let (token, behind) = rest.split_at(end);
            rest = behind;
            Some(token)
        })
    }
}

/// Returns the bytes of the first word of a text that is not empty.
fn word_end(text: &str) -> usize {
    let start = usize::from(text.starts_with(' '));
    let letters = text[start..].find(|c: char| !c.is_alphanumeric());
    match letters.map_or(text.len(), |letters| start + letters) {
        end if end > start => end,
        _ => text.chars().next().map_or(0, char::len_utf8),
    }
}

/// The strings that tokens stand for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vocabulary {
    pub unit: Unit,
    /// The strings of the tokens from 1 on; token 0 stands for any other string. Empty for bytes,
    /// whose tokens are their values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<String>,
}

impl Vocabulary {
    /// The token of a string that is not in the vocabulary. It may occur in a test split, where it
    /// counts for the loss, but is never sampled.
    pub const UNKNOWN: u32 = 0;

    /// Returns the vocabulary of all byte values.
    pub(super) fn of_bytes() -> Vocabulary {
        Vocabulary {
            unit: Unit::Byte,
            entries: vec![],
        }
    }

    /// Returns the strings that occur at least `min_count` times, in order of their code points.
    pub(super) fn of<'a>(
        unit: Unit,
        strings: impl Iterator<Item = &'a str>,
        min_count: usize,
    ) -> Vocabulary {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for string in strings {
            *counts.entry(string).or_default() += 1;
        }
        let kept = counts.into_iter().filter(|&(_, count)| count >= min_count);
        let mut entries: Vec<String> = kept.map(|(string, _)| string.to_string()).collect();
        entries.sort_unstable();
        Vocabulary { unit, entries }
    }

    /// V: tokens are below it.
    pub fn size(&self) -> usize {
        match self.unit {
            Unit::Byte => 256,
            Unit::Char | Unit::Word => 1 + self.entries.len(),
        }
    }

    /// Returns whether this token stands for one string.
    pub fn is_known(&self, token: u32) -> bool {
        self.unit == Unit::Byte || token != Self::UNKNOWN
    }

    /// Returns the bytes of a token, which for a byte may be a part of a character; none for the
    /// unknown token.
    pub fn bytes(&self, token: u32) -> Vec<u8> {
        match self.unit {
            Unit::Byte => vec![token as u8],
            Unit::Char | Unit::Word => {
                let entry = (token as usize).checked_sub(1);
                let entry = entry.and_then(|entry| self.entries.get(entry));
                entry.map_or(vec![], |entry| entry.clone().into_bytes())
            }
        }
    }

    /// Returns a readable name of a token: its string, in quotes and with escapes where it has
    /// white space or control characters; for a byte that is not ASCII, its value in hexadecimal.
    pub fn label(&self, token: u32) -> String {
        if !self.is_known(token) {
            return "(unknown)".to_string();
        }
        let bytes = self.bytes(token);
        match str::from_utf8(&bytes) {
            Ok(text) if text.chars().any(|c| c.is_whitespace() || c.is_control()) => {
                format!("\"{}\"", text.escape_debug())
            }
            Ok(text) => text.to_string(),
            Err(_) => bytes.iter().map(|byte| format!("0x{byte:02x}")).collect(),
        }
    }

    /// Returns the tokens of a text.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        if self.unit == Unit::Byte {
            return text.bytes().map(u32::from).collect();
        }
        let tokens: HashMap<&str, u32> = (1..)
            .zip(&self.entries)
            .map(|(token, entry)| (entry.as_str(), token))
            .collect();
        let token = |string| tokens.get(string).copied().unwrap_or(Self::UNKNOWN);
        self.unit.tokenize(text).map(token).collect()
    }

    /// Returns the tokens of a prompt.
    ///
    /// # Errors
    /// [`Error::Usage`] for the first string that is not in the vocabulary.
    pub fn encode_known(&self, text: &str) -> Result<Vec<u32>> {
        let tokens = self.encode(text);
        let unit = self.unit.name();
        match tokens.iter().position(|&token| !self.is_known(token)) {
            None => Ok(tokens),
            Some(at) => Err(Error::usage(format!(
                "the {unit} `{}`, number {} of `{}`, is not among the {} of the model's \
                 vocabulary; use only {unit}s of the text that the model was trained on",
                excerpt(self.unit.tokenize(text).nth(at).unwrap_or_default()),
                at + 1,
                excerpt(text),
                self.entries.len()
            ))),
        }
    }

    /// Checks that a network with `inputs` and `outputs` can have been trained with this
    /// vocabulary.
    pub(super) fn check(&self, inputs: usize, outputs: usize) -> Result<(), String> {
        let size = self.size();
        if [inputs, outputs] == [size; 2] {
            return Ok(());
        }
        Err(format!(
            "its vocabulary has {size} tokens, but the network has {inputs} inputs and {outputs} \
             outputs; both must be {size}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strings_of_all_tokens_are_the_text() {
        let text = " Wie  gehts,\n na\u{ef}ve 3rd?\u{1f600} ";
        for unit in [Unit::Char, Unit::Word] {
            assert_eq!(unit.tokenize(text).collect::<String>(), text);
        }
        let words: Vec<&str> = Unit::Word.tokenize(text).collect();
        assert_eq!(
            words,
            [
                " Wie",
                " ",
                " gehts",
                ",",
                "\n",
                " na\u{ef}ve",
                " 3rd",
                "?",
                "\u{1f600}",
                " "
            ]
        );
    }

    #[test]
    fn labels_are_readable() {
        let vocabulary = Vocabulary {
            unit: Unit::Word,
            entries: ["\n", " the", "\u{e9}t\u{e9}", "\""]
                .map(String::from)
                .into(),
        };
        let labels: Vec<String> = (0..5).map(|token| vocabulary.label(token)).collect();
        assert_eq!(
            labels,
            ["(unknown)", "\"\\n\"", "\" the\"", "\u{e9}t\u{e9}", "\""]
        );
        let bytes = Vocabulary::of_bytes();
        assert_eq!(
            [65, 10, 0, 233].map(|byte| bytes.label(byte)),
            ["A", "\"\\n\"", "\"\\0\"", "0xe9"]
        );
    }

    #[test]
    fn rare_strings_are_unknown() {
        let text = "a b a b c a b";
        let vocabulary = Vocabulary::of(Unit::Word, Unit::Word.tokenize(text), 2);
        assert_eq!(vocabulary.entries, [" a", " b"]);
        assert_eq!(vocabulary.encode(" a c b"), [1, 0, 2]);
        let error = vocabulary.encode_known(" a c b").unwrap_err();
        assert!(
            error.to_string().contains("the word ` c`, number 2 of"),
            "{error}"
        );
        assert_eq!(vocabulary.encode_known(" b a").unwrap(), [2, 1]);
    }
}
