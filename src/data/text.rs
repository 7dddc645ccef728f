//! A text as streams of tokens, each step answered with the token that follows.
//!
//! One file is cut in two, the last part to test on. What stands in the first part makes the [`Vocabulary`], which a model keeps.
//! Each part is then cut into contiguous streams of one length, which a batch takes side by side in chunks of `bptt_steps`, with
//! the states carried from chunk to chunk (Karpathy's char-rnn). Of a part's tokens fewer than one for each stream are left over.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::preparation::Preparation;
use super::series::shown;
use super::{Dataset, Inputs, Splits, Targets};
use crate::error::{Error, Result};
use crate::io::files;
use crate::network::{Input, Loss, Reads};

/// The largest file, in bytes.
const LARGEST_FILE: u64 = 1 << 30;
/// The largest vocabulary: so many logits are computed at every step.
const LARGEST_VOCABULARY: usize = 1 << 20;
/// A short test part is cut into fewer streams than the training part, so that none is shorter than this.
const SHORTEST_TEST_STREAM: usize = 50;

/// A text file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// UTF-8, unless its units are bytes.
    pub path: PathBuf,
    /// What a token is.
    #[serde(default)]
    pub unit: Unit,
    /// Contiguous streams that the training part is cut into: as many as `batch_size`, or a multiple of it.
    #[serde(default = "fifty")]
    pub streams: usize,
    /// The last part of the text is the test split.
    #[serde(default = "twentieth")]
    pub test_fraction: f64,
    /// What the training part has less often counts as unknown; 1 keeps everything.
    #[serde(default = "one")]
    pub min_count: usize,
}

fn fifty() -> usize {
    50
}

fn twentieth() -> f64 {
    0.05
}

fn one() -> usize {
    1
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// A Unicode scalar value.
    #[default]
    Char,
    /// A byte, of any file.
    Byte,
    /// Letters and digits in a row, with the space before them where there is one; anything else is a token for each character.
    Word,
}

impl Unit {
    /// `character`, `byte` or `word`.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Char => "character",
            Unit::Byte => "byte",
            Unit::Word => "word",
        }
    }
}

/// What tokens stand for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vocabulary {
    pub unit: Unit,
    /// The pieces of text that tokens from 1 on stand for, in order; token 0 is whatever is none of them. Empty for bytes, of
    /// which each is its own token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<String>,
}

impl Vocabulary {
    /// What has no token of its own. It is read, and judged where it stands in a test split, but never drawn in sampling.
    pub const UNKNOWN: u32 = 0;

    /// Of the pieces that come at least `min_count` times, in order of their code points.
    fn of<'a>(unit: Unit, pieces: impl Iterator<Item = &'a str>, min_count: usize) -> Vocabulary {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for piece in pieces {
            *counts.entry(piece).or_default() += 1;
        }
        let kept = counts.into_iter().filter(|&(_, count)| count >= min_count);
        let mut entries: Vec<String> = kept.map(|(piece, _)| piece.to_string()).collect();
        entries.sort_unstable();
        Vocabulary { unit, entries }
    }

    /// V: the tokens are below it.
    pub fn size(&self) -> usize {
        match self.unit {
            Unit::Byte => 256,
            Unit::Char | Unit::Word => 1 + self.entries.len(),
        }
    }

    /// Whether this token has a text.
    pub fn is_known(&self, token: u32) -> bool {
        self.unit == Unit::Byte || token != Self::UNKNOWN
    }

    /// What a token stands for; of a byte it may be a part of a character. Nothing for what is unknown.
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

    /// The text's tokens.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        if self.unit == Unit::Byte {
            return text.bytes().map(u32::from).collect();
        }
        let tokens: HashMap<&str, u32> = (1..)
            .zip(&self.entries)
            .map(|(token, entry)| (entry.as_str(), token))
            .collect();
        let token = |piece| tokens.get(piece).copied().unwrap_or(Self::UNKNOWN);
        pieces(self.unit, text).map(token).collect()
    }

    /// [`Vocabulary::encode`] of what a user wants continued.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the first piece which the vocabulary lacks.
    pub fn encode_known(&self, text: &str) -> Result<Vec<u32>> {
        let tokens = self.encode(text);
        let unit = self.unit.name();
        match tokens.iter().position(|&token| !self.is_known(token)) {
            None => Ok(tokens),
            Some(at) => Err(Error::Usage(format!(
                "the {unit} `{}`, number {} of `{}`, is not among the {} that the model was trained on; begin with others",
                shown(pieces(self.unit, text).nth(at).unwrap_or_default()),
                at + 1,
                shown(text),
                self.entries.len()
            ))),
        }
    }

    /// Refuses a vocabulary that a network of these sizes cannot have been trained with.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn check(&self, inputs: usize, outputs: usize) -> Result<(), String> {
        let size = self.size();
        match [inputs, outputs] == [size; 2] {
            true => Ok(()),
            false => Err(format!(
                "its vocabulary has {size} tokens, and the network reads {inputs} and tells {outputs} apart"
            )),
        }
    }
}

/// A text's pieces, which together are the text; of bytes there are none.
fn pieces(unit: Unit, text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let end = match unit {
            Unit::Word => word_end(rest),
            Unit::Char | Unit::Byte => first.len_utf8(),
        };
        let (piece, behind) = rest.split_at(end);
        rest = behind;
        Some(piece)
    })
}

/// Bytes of the first word of a text that is not empty.
fn word_end(text: &str) -> usize {
    let start = usize::from(text.starts_with(' '));
    let letters = text[start..].find(|c: char| !c.is_alphanumeric());
    match letters.map_or(text.len(), |letters| start + letters) {
        end if end > start => end,
        _ => text.chars().next().map_or(0, char::len_utf8),
    }
}

impl Text {
    /// Refuses values that make no sense, of a recipe with these.
    ///
    /// # Errors
    /// [`Error::Usage`] that says what is allowed.
    pub(crate) fn validate(
        &self,
        batch_size: usize,
        bptt_steps: Option<usize>,
        input: Input,
        (loss, reads): (Loss, Reads),
    ) -> Result<()> {
        let streams = self.streams;
        let problem = if !(0.0..1.0).contains(&self.test_fraction) {
            format!(
                "data.test_fraction is {}; it must be at least 0 and below 1",
                self.test_fraction
            )
        } else if self.min_count == 0 {
            "data.min_count is 0; it must be at least 1".into()
        } else if streams == 0 || !streams.is_multiple_of(batch_size) {
            format!(
                "data.streams is {streams}, and batch_size {batch_size}; a batch takes so many streams side by side, so the one \
                 must be a multiple of the other, and best the same"
            )
        } else if bptt_steps.is_none() {
            "data of kind text are streams as long as the text allows; bptt_steps must say after how many tokens to update the \
             weights, as in bptt_steps = 50"
                .into()
        } else if input.is_values() {
            "data of kind text are tokens, so network.input must be \"one-hot\" or { embedding = { size = 64 } }".into()
        } else if loss != Loss::CrossEntropy || reads != Reads::Every {
            "data of kind text have a token to predict at every step, so network.head must have loss = \"cross-entropy\" and \
             reads = \"every\""
                .into()
        } else {
            return Ok(());
        };
        Err(Error::Usage(problem))
    }

    /// Reads the file and cuts it; with the vocabulary of `known`, where there is one.
    ///
    /// # Errors
    /// [`Error::File`] for a file that cannot be read, is not UTF-8, empty, or too short for its streams.
    pub fn load(&self, known: Option<&Preparation>) -> Result<Splits> {
        let file = File::open(&self.path).and_then(|file| files::read_at_most(file, LARGEST_FILE));
        let bytes = file.map_err(|error| {
            let problem = format!(
                "the text cannot be read: {error}; `--data FILE` or data.path names the file"
            );
            Error::file(&self.path, problem)
        })?;
        self.split(&bytes, &self.path, known)
    }

    /// [`Text::load`] of a file's bytes; errors call it by `path`.
    ///
    /// # Errors
    /// Those of [`Text::load`].
    pub fn split(&self, bytes: &[u8], path: &Path, known: Option<&Preparation>) -> Result<Splits> {
        let refused = |problem: String| Error::file(path, problem);
        if bytes.is_empty() {
            return Err(refused("it is empty; there must be a text in it".into()));
        }
        let known = known.and_then(|known| known.vocabulary.as_ref());
        let (vocabulary, tokens, cut) = match self.unit {
            Unit::Byte => {
                let vocabulary = Vocabulary::of(Unit::Byte, std::iter::empty(), 1);
                let tokens: Vec<u32> = bytes.iter().copied().map(u32::from).collect();
                let cut = self.cut(tokens.len());
                (vocabulary, tokens, cut)
            }
            unit => {
                let text = str::from_utf8(bytes).map_err(|error| {
                    let at = error.valid_up_to();
                    refused(format!(
                        "byte {at}, which is {:#04x}, is not UTF-8; convert the file (`iconv -f latin1 -t utf8`), or take bytes \
                         as they are with data.unit = \"byte\"",
                        bytes[at]
                    ))
                })?;
                let cut = self.cut(pieces(unit, text).count());
                let first = || pieces(unit, text).take(cut);
                let vocabulary = known.map_or_else(
                    || Vocabulary::of(unit, first(), self.min_count),
                    Clone::clone,
                );
                let tokens = vocabulary.encode(text);
                (vocabulary, tokens, cut)
            }
        };
        let size = vocabulary.size();
        if size > LARGEST_VOCABULARY {
            return Err(refused(format!(
                "it has {size} different {}s; at most {LARGEST_VOCABULARY} are possible. A larger data.min_count leaves out the \
                 rare ones.",
                self.unit.name()
            )));
        }
        let short = |tokens: &[u32], what: &str, streams: usize| {
            refused(format!(
                "it has {} {}s to {what}, and {streams} streams need at least {}: one each, and one that follows the last. Take a \
                 longer text, fewer data.streams and a smaller batch_size, or another data.test_fraction.",
                tokens.len(),
                self.unit.name(),
                streams + 1
            ))
        };
        // An unusual unit may make fewer tokens of a text than it has pieces.
        let (train, test) = tokens.split_at(cut.min(tokens.len()));
        let streams = (test.len().saturating_sub(1) / SHORTEST_TEST_STREAM).clamp(1, self.streams);
        Ok(Splits {
            train: cut_streams(train, self.streams, size)
                .ok_or_else(|| short(train, "train on", self.streams))?
                .into(),
            test: match self.test_fraction > 0.0 {
                true => Some(
                    cut_streams(test, streams, size)
                        .ok_or_else(|| short(test, "test on", streams))?
                        .into(),
                ),
                false => None,
            },
            preparation: Preparation {
                vocabulary: Some(vocabulary),
                ..Preparation::default()
            },
        })
    }

    /// Where the test part of so many tokens begins.
    fn cut(&self, tokens: usize) -> usize {
        tokens - (tokens as f64 * self.test_fraction).round() as usize
    }

    /// Made-up tokens of as many kinds as an English text has characters, in streams of as many steps as make `count` sequences of 50.
    pub(crate) fn made_up(&self, count: usize) -> Dataset {
        let steps = 50 * count.clamp(1, 1 << 16).div_ceil(self.streams);
        made_up(self.streams, steps, 66)
    }
}

/// Streams of tokens that follow no rule worth learning.
pub(crate) fn made_up(streams: usize, steps: usize, vocabulary: usize) -> Dataset {
    let token = |n: usize| (n * 7919 % 10_007 % vocabulary) as u32;
    let tokens: Vec<u32> = (0..=streams * steps).map(token).collect();
    cut_streams(&tokens, streams, vocabulary).expect("there are enough")
}

/// Contiguous streams of one length; `None` where the tokens do not make a step of each.
fn cut_streams(tokens: &[u32], streams: usize, vocabulary: usize) -> Option<Dataset> {
    let steps = tokens.len().saturating_sub(1) / streams;
    let all = streams * steps;
    (steps > 0).then(|| Dataset {
        count: streams,
        steps,
        features: 1,
        inputs: Inputs::Tokens {
            values: tokens[..all].to_vec(),
            vocabulary,
        },
        targets: Targets::Classes {
            labels: tokens[1..=all].to_vec(),
            classes: vocabulary,
            per_step: true,
        },
        lengths: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(unit: Unit, streams: usize, test_fraction: f64) -> Text {
        Text {
            path: "text.txt".into(),
            unit,
            streams,
            test_fraction,
            min_count: 1,
        }
    }

    fn split(text: &Text, bytes: &[u8]) -> Result<Splits> {
        text.split(bytes, &text.path, None)
    }

    fn tokens(data: &Dataset) -> (&[u32], &[u32]) {
        match (&data.inputs, &data.targets) {
            (Inputs::Tokens { values, .. }, Targets::Classes { labels, .. }) => (values, labels),
            _ => panic!("tokens expected"),
        }
    }

    #[test]
    fn streams_are_contiguous_and_answered_with_what_follows() {
        let Splits {
            train,
            test,
            preparation,
        } = split(&text(Unit::Char, 3, 0.2), "abcdefghijklm\u{e9}".as_bytes()).unwrap();
        // Eleven to train on: three streams of three steps, the last answer behind them, and one left over.
        assert_eq!((train.count, train.steps), (3, 3));
        let (inputs, labels) = tokens(&train);
        assert_eq!(inputs, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(labels, [2, 3, 4, 5, 6, 7, 8, 9, 10]);
        // The test part has characters that the training part lacks.
        let test = test.unwrap();
        assert_eq!(tokens(&test), (&[0, 0][..], &[0, 0][..]));
        let vocabulary = preparation.vocabulary.unwrap();
        assert_eq!((vocabulary.size(), vocabulary.entries.len()), (12, 11));
        assert_eq!(vocabulary.bytes(2), b"b");
        assert_eq!(vocabulary.bytes(0), b"");
        train.check().unwrap();
        test.check().unwrap();
    }

    #[test]
    fn pieces_together_are_the_text() {
        let text = " Wie  gehts,\n na\u{ef}ve 3rd?\u{1f600} ";
        for unit in [Unit::Char, Unit::Word] {
            assert_eq!(pieces(unit, text).collect::<String>(), text);
        }
        let words: Vec<&str> = pieces(Unit::Word, text).collect();
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
    fn what_is_rare_is_unknown() {
        let rare = Text {
            min_count: 2,
            ..text(Unit::Word, 2, 0.0)
        };
        let splits = split(&rare, b"a b a b c a b").unwrap();
        let vocabulary = splits.preparation.vocabulary.unwrap();
        assert_eq!(vocabulary.entries, [" a", " b"]);
        assert_eq!(vocabulary.encode(" a c b"), [1, 0, 2]);
        let error = vocabulary.encode_known(" a c b").unwrap_err();
        assert!(
            error.to_string().contains("the word ` c`, number 2 of"),
            "{error}"
        );
        assert_eq!(vocabulary.encode_known(" b a").unwrap(), [2, 1]);
    }

    #[test]
    fn bytes_are_their_own_tokens() {
        let splits = split(&text(Unit::Byte, 1, 0.0), &[0xff, 0, 0x41, 0x80]).unwrap();
        assert_eq!(
            tokens(&splits.train),
            (&[255, 0, 65][..], &[0, 65, 128][..])
        );
        let vocabulary = splits.preparation.vocabulary.unwrap();
        assert_eq!(vocabulary.size(), 256);
        assert_eq!(vocabulary.bytes(255), [255]);
        assert_eq!(vocabulary.encode_known("\u{e9}").unwrap(), [0xc3, 0xa9]);
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let fails = |text: &Text, bytes: &[u8], expected: &str| {
            let error = split(text, bytes).unwrap_err();
            assert_eq!(error.exit_code(), 1);
            let message = error.to_string();
            assert!(message.starts_with("text.txt: "), "{message}");
            assert!(message.contains(expected), "{message}");
        };
        let chars = text(Unit::Char, 5, 0.5);
        fails(&chars, b"", "it is empty");
        fails(&chars, b"abc\xffdef", "byte 3, which is 0xff, is not UTF-8");
        fails(
            &chars,
            b"abcdefghij",
            "5 characters to train on, and 5 streams need at least 6",
        );
        fails(
            &text(Unit::Char, 2, 0.1),
            b"abcdefghij",
            "1 characters to test on",
        );
        assert!(split(&chars, b"abcdefghijkl").is_ok());
    }
}
