//! A text as streams of tokens; the target of each step is the next token.
//!
//! The last part of the file is the test split, and the part before it the validation split, if
//! there is one. The strings of the first part make the [`Vocabulary`], which is saved with the
//! model. Each part is cut into contiguous streams of the same length. A batch reads them in
//! parallel, in chunks of `bptt_steps`, and carries the states from chunk to chunk (Karpathy's
//! char-rnn). Fewer tokens than there are streams are left over at the end of each part.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::labelled::{Extent, LabelledData, LabelledRequest};
use super::preparation::Preparation;
use super::source::{
    DataSource, DataUse, ExpectedPath, InputRequest, PredictionInputs, SequenceSizes, TargetKind,
};
use super::splits::one_validation_split;
pub use super::vocabulary::{Unit, Vocabulary};
use super::{Dataset, Inputs, Split, Splits, Targets};
use crate::error::{Error, Result};
use crate::fields;
use crate::io::{files, memory_limit};
use crate::messages::shown_path;
use crate::network::Reads;

/// The largest file, in bytes.
const LARGEST_FILE: u64 = 1 << 30;
/// The largest vocabulary; each time step computes this many logits.
const LARGEST_VOCABULARY: usize = 1 << 20;
/// A short test part is cut into fewer streams than the training part, so that each has at least
/// this many steps.
const SHORTEST_TEST_STREAM: usize = 50;
/// Steps of a chunk, and size of the vocabulary, of a made-up text: that of an English one.
const MADE_UP_SIZES: [usize; 2] = [50, 66];

/// A text file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// A UTF-8 file; any file if the unit is `byte`.
    pub path: PathBuf,
    /// What a token is.
    #[serde(default)]
    pub unit: Unit,
    /// Contiguous streams of the training part: `batch_size` or a multiple of it.
    #[serde(default = "default_streams")]
    pub streams: usize,
    /// The text of the validation split; without it, that is `validation_fraction` of `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_path: Option<PathBuf>,
    /// The text of the test split; without it, that is `test_fraction` of `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_path: Option<PathBuf>,
    /// The last part of the text that is the test split.
    #[serde(default = "default_test_fraction")]
    pub test_fraction: f64,
    /// The last part of the training split that is the validation split, which decides early
    /// stopping, the best epoch and plateaus.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub validation_fraction: f64,
    /// Strings that occur less often in the training part are unknown; 1 keeps all.
    #[serde(default = "default_min_count")]
    pub min_count: usize,
}

fn default_streams() -> usize {
    50
}

fn default_test_fraction() -> f64 {
    0.05
}

fn default_min_count() -> usize {
    1
}

impl DataSource for Text {
    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn paths_mut(&mut self) -> Vec<&mut PathBuf> {
        std::iter::once(&mut self.path)
            .chain(&mut self.validation_path)
            .chain(&mut self.test_path)
            .collect()
    }

    fn expected_path(&self) -> ExpectedPath {
        ExpectedPath::File("a text")
    }

    fn validate(&self, usage: &DataUse) -> Result<()> {
        fields::fraction("data.test_fraction", self.test_fraction)?;
        fields::fraction("data.validation_fraction", self.validation_fraction)?;
        one_validation_split(self.validation_path.as_deref(), self.validation_fraction)?;
        fields::count("data.min_count", self.min_count)?;
        let (streams, batch_size) = (self.streams, usage.batch_size);
        fields::require(
            streams > 0 && streams.is_multiple_of(batch_size),
            "data.streams",
            streams,
            &format!("batch_size, which is {batch_size}, or a multiple of it"),
        )?;
        if usage.bptt_steps.is_none() {
            return Err(Error::usage(
                "bptt_steps is not set; data of kind text are long streams, so it must be the \
                 number of tokens between two updates, as in bptt_steps = 50",
            ));
        }
        if usage.input.is_values() {
            return Err(Error::usage(
                "network.input is \"values\"; data of kind text are tokens, so it must be \
                 \"one-hot\" or { embedding = { size = 64 } }",
            ));
        }
        usage.require_head(
            "data of kind text have a target token at every step",
            TargetKind::Classes,
            Reads::Every,
        )
    }

    fn outputs(&self) -> usize {
        2
    }

    /// A batch reads one chunk of each stream.
    fn set_batch_size(&mut self, batch_size: usize) {
        self.streams = batch_size;
    }

    /// Reads the files; encodes them with the vocabulary of `known`, if there is one.
    fn load(&self, _seed: u64, known: Option<&Preparation>) -> Result<Splits> {
        let of_path = Text {
            test_fraction: match self.test_path {
                Some(_) => 0.0,
                None => self.test_fraction,
            },
            ..self.clone()
        };
        let mut splits = of_path.split(&read(&self.path)?, &self.path, known)?;
        for (path, split) in [
            (&self.validation_path, &mut splits.validation),
            (&self.test_path, &mut splits.test),
        ] {
            let Some(path) = path else {
                continue;
            };
            let labelled = self.labelled(&read(path)?, &splits.preparation);
            let labelled = labelled.map_err(|problem| Error::file(path, problem))?;
            let notes = labelled.notes.into_iter();
            (splits.notes).extend(notes.map(|note| format!("{}: {note}", shown_path(path))));
            *split = Some(labelled.data.into());
        }
        Ok(splits)
    }

    /// Cuts all of the file into streams, the last of which may be shorter.
    fn load_labelled(&self, request: &LabelledRequest) -> Result<LabelledData> {
        request.require_no_split()?;
        let bytes = read(request.path)?;
        let labelled = self.labelled(&bytes, request.preparation);
        labelled.map_err(|problem| Error::file(request.path, problem))
    }

    fn load_inputs(&self, _request: &InputRequest) -> Result<PredictionInputs> {
        Err(Error::data(
            "the model was trained on a text; sample from it, or evaluate it on another text",
        ))
    }

    fn made_up(&self, count: usize, _seed: u64) -> Option<Splits> {
        let [chunk, vocabulary] = MADE_UP_SIZES;
        let steps = chunk * count.clamp(1, 1 << 16).div_ceil(self.streams);
        Some(made_up(self.streams, steps, vocabulary).into())
    }

    /// Returns the sizes of the text, or those of an English one if the file does not exist.
    fn sizes(&self, seed: u64) -> Result<SequenceSizes> {
        let [steps, vocabulary] = MADE_UP_SIZES;
        let english = SequenceSizes {
            steps,
            inputs: vocabulary,
            outputs: vocabulary,
        };
        let loaded = self.load(seed, None);
        Ok(loaded.map_or(english, |splits| SequenceSizes::of(&splits.train)))
    }
}

/// The tokens of a file.
struct EncodedText {
    vocabulary: Vocabulary,
    tokens: Vec<u32>,
    cuts: Cuts,
}

/// Offsets of the parts of a text, in tokens.
#[derive(Debug, Clone, Copy)]
struct Cuts {
    /// The validation part; that of the test part without one.
    validation: usize,
    test: usize,
}

impl Text {
    /// Returns the splits of a file's bytes; errors name `path`. The text is encoded with the
    /// vocabulary of `known`, if there is one.
    ///
    /// # Errors
    /// [`Error::File`] for a file that is empty, is not UTF-8, or is too short for its streams.
    pub fn split(&self, bytes: &[u8], path: &Path, known: Option<&Preparation>) -> Result<Splits> {
        let known = known.and_then(|known| known.vocabulary.as_ref());
        let refuse = |problem: String| Error::file(path, problem);
        let EncodedText {
            vocabulary,
            tokens,
            cuts,
        } = self.encode(bytes, known).map_err(refuse)?;
        let (before, test) = tokens.split_at(cuts.test.min(tokens.len()));
        let (train, validation) = before.split_at(cuts.validation.min(before.len()));
        let cut = |tokens: &[u32], split: Split| {
            let streams = match split {
                Split::Train => self.streams,
                Split::Validation | Split::Test => evaluated_streams(tokens.len(), self.streams),
            };
            let cut = cut_streams(tokens, streams, vocabulary.size());
            cut.ok_or_else(|| refuse(self.too_short(tokens.len(), split, streams)))
        };
        let train = cut(train, Split::Train)?;
        let validation =
            (self.validation_fraction > 0.0).then(|| cut(validation, Split::Validation));
        let test = (self.test_fraction > 0.0).then(|| cut(test, Split::Test));
        let (validation, test) = (validation.transpose()?, test.transpose()?);
        Ok(Splits {
            train: train.into(),
            validation: validation.map(Dataset::into),
            test: test.map(Dataset::into),
            preparation: Preparation {
                vocabulary: Some(vocabulary),
                ..Preparation::default()
            },
            notes: vec![],
        })
    }

    /// Encodes a file's bytes; the vocabulary is `known`, or that of the training part.
    fn encode(&self, bytes: &[u8], known: Option<&Vocabulary>) -> Result<EncodedText, String> {
        if bytes.is_empty() {
            return Err("it is empty; it must hold a text".into());
        }
        if self.unit == Unit::Byte {
            return Ok(EncodedText {
                vocabulary: Vocabulary::of_bytes(),
                tokens: bytes.iter().copied().map(u32::from).collect(),
                cuts: self.cuts(bytes.len()),
            });
        }
        let text = utf8(bytes)?;
        let cuts = self.cuts(self.unit.tokenize(text).count());
        let vocabulary = known.cloned().unwrap_or_else(|| {
            let first_part = self.unit.tokenize(text).take(cuts.validation);
            Vocabulary::of(self.unit, first_part, self.min_count)
        });
        let size = vocabulary.size();
        if size > LARGEST_VOCABULARY {
            return Err(format!(
                "it has {size} different {}s; at most {LARGEST_VOCABULARY} are allowed: \
                 increase data.min_count to leave out the rare ones",
                self.unit.name()
            ));
        }
        Ok(EncodedText {
            // A known vocabulary of another unit may encode the text as fewer tokens than a cut.
            tokens: vocabulary.encode(text),
            vocabulary,
            cuts,
        })
    }

    /// Returns streams of all tokens of a file's bytes, encoded with the model's vocabulary.
    fn labelled(&self, bytes: &[u8], known: &Preparation) -> Result<LabelledData, String> {
        let vocabulary = known.vocabulary.as_ref();
        let vocabulary = vocabulary.ok_or("the model has no vocabulary to encode a text with")?;
        let tokens: Vec<u32> = match vocabulary.unit {
            Unit::Byte => bytes.iter().copied().map(u32::from).collect(),
            Unit::Char | Unit::Word => vocabulary.encode(utf8(bytes)?),
        };
        let (count, unit) = (tokens.len(), vocabulary.unit.name());
        if count < 2 {
            return Err(format!(
                "it has {count} {unit}s; it needs at least 2: one to read, and one to predict"
            ));
        }
        let unknown = tokens.iter().filter(|&&token| !vocabulary.is_known(token));
        let unknown = unknown.count();
        if unknown == count {
            return Err(format!(
                "none of its {count} {unit}s is in the model's vocabulary of {}; evaluate the \
                 model on a text like the one that it was trained on",
                vocabulary.entries.len()
            ));
        }
        let streams = evaluated_streams(count, self.streams);
        let mut labelled = LabelledData::from(ragged_streams(&tokens, streams, vocabulary.size()));
        labelled.extent = Some(Extent {
            count,
            unit: match vocabulary.unit {
                Unit::Char => "characters",
                Unit::Byte => "bytes",
                Unit::Word => "words",
            },
        });
        if unknown > 0 {
            labelled.notes.push(format!(
                "{unknown} of the {count} {unit}s are not in the model's vocabulary and are \
                 evaluated as the token `unknown`"
            ));
        }
        Ok(labelled)
    }

    fn too_short(&self, tokens: usize, split: Split, streams: usize) -> String {
        let (purpose, field) = match split {
            Split::Train => ("train on", "data.test_fraction"),
            Split::Validation => ("validate on", "data.validation_fraction"),
            Split::Test => ("test on", "data.test_fraction"),
        };
        format!(
            "it has {tokens} {}s to {purpose}, but {streams} streams need at least {}: one each, \
             and the one after the last; use a longer text, fewer data.streams with a smaller \
             batch_size, or another {field}",
            self.unit.name(),
            streams + 1
        )
    }

    /// Returns where the parts of a text of this many tokens begin.
    fn cuts(&self, tokens: usize) -> Cuts {
        let before = |end: usize, fraction: f64| end - (end as f64 * fraction).round() as usize;
        let test = before(tokens, self.test_fraction);
        Cuts {
            validation: before(test, self.validation_fraction),
            test,
        }
    }
}

/// Reads the bytes of a text's file.
fn read(path: &Path) -> Result<Vec<u8>> {
    let file = files::open(path).and_then(|file| files::read_at_most(file, LARGEST_FILE));
    let bytes = file.map_err(|error| {
        let problem = format!("the text cannot be read: {error}; set data.path to the file");
        Error::file(path, problem)
    })?;
    // Each byte may become a token of four bytes, in the text and in the streams of a split.
    let used = memory_limit::check(9 * bytes.len() as u128);
    used.map_err(|problem| Error::file(path, problem))?;
    Ok(bytes)
}

fn utf8(bytes: &[u8]) -> Result<&str, String> {
    str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        format!(
            "byte {at}, which is {:#04x}, is not UTF-8; convert the file \
             (`iconv -f latin1 -t utf8`), or set data.unit = \"byte\" to read any bytes",
            bytes[at]
        )
    })
}

/// Returns how many streams a text of this many tokens is evaluated in, at most `most`.
fn evaluated_streams(tokens: usize, most: usize) -> usize {
    (tokens.saturating_sub(1) / SHORTEST_TEST_STREAM).clamp(1, most)
}

/// Cuts at least two tokens into at most `streams` contiguous streams that leave none over: the
/// last one may be shorter than the others.
fn ragged_streams(tokens: &[u32], streams: usize, vocabulary: usize) -> Dataset {
    let predicted = tokens.len() - 1;
    let steps = predicted.div_ceil(streams);
    let count = predicted.div_ceil(steps);
    let padded = |tokens: &[u32]| {
        let mut padded = tokens.to_vec();
        padded.resize(count * steps, 0);
        padded
    };
    let length = |n: usize| steps.min(predicted - n * steps) as u32;
    Dataset {
        count,
        steps,
        features: 1,
        inputs: Inputs::Tokens {
            values: padded(&tokens[..predicted]),
            vocabulary,
        },
        targets: Targets::Classes {
            labels: padded(&tokens[1..]),
            classes: vocabulary,
            per_step: true,
        },
        lengths: (count * steps > predicted).then(|| (0..count).map(length).collect()),
        weights: None,
    }
}

/// Returns streams of tokens without a pattern to learn.
pub(crate) fn made_up(streams: usize, steps: usize, vocabulary: usize) -> Dataset {
    let token = |n: usize| (n * 7919 % 10_007 % vocabulary) as u32;
    let tokens: Vec<u32> = (0..=streams * steps).map(token).collect();
    cut_streams(&tokens, streams, vocabulary).expect("there is a token for every step")
}

/// Cuts tokens into contiguous streams of the same length; `None` if that is 0.
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
        weights: None,
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
            validation_fraction: 0.0,
            min_count: 1,
            validation_path: None,
            test_path: None,
        }
    }

    #[test]
    fn the_validation_split_is_before_the_test_split() {
        let text = Text {
            validation_fraction: 0.25,
            ..text(Unit::Byte, 1, 0.2)
        };
        let bytes: Vec<u8> = (0..100).collect();
        let splits = split(&text, &bytes).expect("it is long enough");
        let ends = |data: &Dataset| {
            let Inputs::Tokens { values, .. } = &data.inputs else {
                panic!("tokens were expected");
            };
            (values[0], *values.last().expect("there are some"))
        };
        assert_eq!(ends(&splits.train), (0, 58));
        assert_eq!(ends(&splits.validation.expect("there is one")), (60, 78));
        assert_eq!(ends(&splits.test.expect("there is one")), (80, 98));
        // Its strings are not in the vocabulary.
        let text = Text {
            unit: Unit::Char,
            ..text
        };
        let splits = split(&text, b"aaaaaaaaaaaaaaabcccc").expect("it is long enough");
        let vocabulary = splits.preparation.vocabulary.expect("there is one");
        assert_eq!(vocabulary.entries, ["a"]);
        let short = Text {
            validation_fraction: 0.01,
            ..text
        };
        let message = split(&short, &bytes[..20])
            .expect_err("it is too short")
            .to_string();
        assert!(message.contains("0 characters to validate on"), "{message}");
        assert!(
            message.contains("another data.validation_fraction"),
            "{message}"
        );
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
    fn streams_are_contiguous_and_targets_are_the_next_tokens() {
        let Splits {
            train,
            test,
            preparation,
            ..
        } = split(&text(Unit::Char, 3, 0.2), "abcdefghijklm\u{e9}".as_bytes()).unwrap();
        // 11 training tokens: three streams of three steps, the last target, and one left over.
        assert_eq!((train.count, train.steps), (3, 3));
        let (inputs, labels) = tokens(&train);
        assert_eq!(inputs, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(labels, [2, 3, 4, 5, 6, 7, 8, 9, 10]);
        // The characters of the test split are not in the training split.
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
    fn all_of_a_text_is_evaluated() {
        let own = text(Unit::Char, 2, 0.0);
        let known = split(&own, b"abcabcabcabc").unwrap().preparation;
        // 120 characters: 119 predictions in two streams, one step shorter the last.
        let labelled = own
            .labelled("abcabx".repeat(20).as_bytes(), &known)
            .unwrap();
        let data = &labelled.data;
        data.check().unwrap();
        assert_eq!((data.count, data.steps), (2, 60));
        assert_eq!(data.lengths, Some(vec![60, 59]));
        let (inputs, labels) = tokens(data);
        assert_eq!(inputs[..6], [1, 2, 3, 1, 2, 0]);
        assert_eq!(labels[..5], inputs[1..6]);
        assert_eq!(labels[59], inputs[60]);
        assert_eq!(labelled.extent.unwrap().to_string(), "120 characters");
        assert!(labelled.notes[0].starts_with("20 of the 120 characters"));
        for (bytes, expected) in [
            (&b"a"[..], "it has 1 characters"),
            (b"xyz", "none of its 3 characters"),
            (b"ab\xff", "byte 2, which is 0xff"),
        ] {
            let problem = own.labelled(bytes, &known).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
    }

    #[test]
    fn files_that_are_no_text_are_refused() {
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
            "5 characters to train on, but 5 streams need at least 6",
        );
        fails(
            &text(Unit::Char, 2, 0.1),
            b"abcdefghij",
            "1 characters to test on",
        );
        assert!(split(&chars, b"abcdefghijkl").is_ok());
    }
}
