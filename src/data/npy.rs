//! NumPy's arrays: an `.npz` file, or a directory of `.npy` files.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::ArrayD;
use ndarray_npy::npy::header::{Header, Layout};
use ndarray_npy::{ReadNpyExt, ReadableElement};
use serde::{Deserialize, Serialize};
use zip::ZipArchive;
use zip::result::ZipError;

use super::preparation::{Missing, Normal, Preparation};
use super::series::{MOST_NUMBERS, shown};
use super::stored::{Element, Stored, StoredArray};
use super::{Dataset, Inputs, SplitBy, Splits, Targets, divide};
use crate::error::{Error, Result};
use crate::io::files;
use crate::kernels::IGNORE;
use crate::messages::{did_you_mean, listed};
use crate::network::Loss;

/// The largest array, in bytes, unpacked too: as many numbers as a split may hold, in f64.
const LARGEST_ARRAY: u64 = 8 * MOST_NUMBERS;
/// The largest array of inputs, in bytes, that is read into memory where it may stay in its file.
const LARGEST_IN_MEMORY: u64 = 256 << 20;
/// The largest header of an array, in bytes; NumPy's have 128.
const LARGEST_HEADER: usize = 4096;
/// The most brackets that open in a header: a dictionary's and a shape's, and some.
const MOST_BRACKETS: usize = 8;
/// The most dimensions of an array.
const MOST_DIMENSIONS: usize = 8;
/// The most members of an archive that a message lists.
const MOST_LISTED: usize = 20;

/// Which arrays are read, and as what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Npy {
    /// An `.npz` file, or a directory of `.npy` files; the arrays below are called as its members, without their `.npy`.
    pub path: PathBuf,
    /// `[N, T, I]`, or `[N, T]` of one feature. Ragged sequences are padded to T, or lie end to end as `[R, I]`, R being the sum
    /// of their lengths.
    pub inputs: String,
    /// Integers, a class each: `[N]`, or `[N, T]` (or `[R]`) for one at each step, where a negative one counts for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<String>,
    /// Values in place of classes: `[N]` or `[N, K]`, or `[N, T, K]` (or `[R, K]`) for some at each step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<String>,
    /// `[N]`: valid steps of each sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lengths: Option<String>,
    /// `[N]` integers: which sequences belong together and must not be in both splits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<String>,
    /// K: labels are below it; one more than the largest where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
    /// V: the inputs are `[N, T]` tokens, each below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<usize>,
    /// Arrays of the same names that are the test split. Else, where all names end in `_train` and `path` has the same ones that
    /// end in `_test`, these are; else a part of those in `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_path: Option<PathBuf>,
    #[serde(default = "fifth")]
    pub test_fraction: f64,
    /// How the test split is taken out of `path`.
    #[serde(default = "random")]
    pub split_by: SplitBy,
    /// Whether inputs and targets are read in deviations from the training split's mean.
    #[serde(default = "yes")]
    pub normalise: bool,
    /// What becomes of NaN among the inputs.
    #[serde(default)]
    pub missing: Missing,
}

fn fifth() -> f64 {
    0.2
}

fn random() -> SplitBy {
    SplitBy::Random
}

fn yes() -> bool {
    true
}

/// Numbers as a file has them, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    pub shape: Vec<usize>,
    pub numbers: Numbers,
}

/// What an array's elements are read as.
#[derive(Debug, Clone, PartialEq)]
pub enum Numbers {
    Floats(Vec<f32>),
    /// Booleans too, as 0 and 1.
    Integers(Vec<i64>),
}

impl Array {
    /// Its elements, integers or not.
    fn floats(self) -> Vec<f32> {
        match self.numbers {
            Numbers::Floats(values) => values,
            Numbers::Integers(values) => values.into_iter().map(|value| value as f32).collect(),
        }
    }

    /// Its elements where all are whole numbers.
    pub fn integers(&self) -> Option<Vec<i64>> {
        match &self.numbers {
            Numbers::Integers(values) => Some(values.clone()),
            Numbers::Floats(values) => values
                .iter()
                .map(|&value| (value.fract() == 0.0 && value.abs() < 1e9).then_some(value as i64))
                .collect(),
        }
    }
}

/// An array of a file's bytes; errors call it by `path`.
///
/// # Errors
/// [`Error::File`] for what is no `.npy`, is cut off or has bytes too many, or has elements that are no real numbers.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Array> {
    parsed(bytes).map_err(|problem| Error::file(path, problem))
}

/// Refuses what the library's parser of headers is no match for: it believes a header's length, and descends with every bracket.
pub(crate) fn check_header(bytes: &[u8]) -> Result<(), String> {
    if !bytes.starts_with(b"\x93NUMPY") {
        return Err("not an .npy array: it does not begin as one; write it with numpy.save".into());
    }
    let version_2 = bytes.get(6) > Some(&1);
    let start = if version_2 { 12 } else { 10 };
    let cut_off = "the file ends in its header: it is cut off; copy or write it again";
    let digits = bytes.get(8..start).ok_or(cut_off)?.iter().rev();
    let length = digits.fold(0, |length, &byte| length << 8 | usize::from(byte));
    if length > LARGEST_HEADER {
        return Err(format!(
            "the header has {length} bytes, and at most {LARGEST_HEADER} are taken; is the file damaged?"
        ));
    }
    let header = bytes.get(start..start + length).ok_or(cut_off)?;
    let brackets = header.iter().filter(|byte| b"([{".contains(byte)).count();
    if brackets > MOST_BRACKETS {
        return Err("an array of records; save each of its fields as an array of its own".into());
    }
    Ok(())
}

/// What a header says: shape and element, whether it is row-major, and how many bytes it has.
fn described(bytes: &[u8]) -> Result<(Vec<usize>, Element, bool, usize), String> {
    check_header(bytes)?;
    let mut rest = bytes;
    let header = Header::from_reader(&mut rest)
        .map_err(|error| format!("the header is damaged: {error}; write the array again"))?;

    let Header {
        shape,
        type_descriptor,
        layout,
    } = header;
    let name = type_descriptor.as_string().map_or("", String::as_str);
    let size = name
        .chars()
        .last()
        .and_then(|digit| digit.to_digit(10))
        .unwrap_or(1);
    let kinds = [
        "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1",
    ];
    if !kinds
        .iter()
        .any(|kind| name.trim_start_matches(['<', '>', '|', '=']) == *kind)
    {
        return Err(format!(
            "its elements are of type {}; it must be an array of float32, float64, integers or booleans \
             (in NumPy: x.astype(numpy.float32))",
            shown(name)
        ));
    }
    if shape.len() > MOST_DIMENSIONS {
        return Err(format!(
            "it has {} dimensions; at most 3 mean something here",
            shape.len()
        ));
    }
    let element = Element {
        kind: char::from(name.as_bytes()[name.len() - 2]),
        size: size as usize,
        big_endian: name.starts_with('>') || name.starts_with('=') && cfg!(target_endian = "big"),
    };
    let row_major = matches!(layout, Layout::Standard);
    Ok((shape, element, row_major, bytes.len() - rest.len()))
}

/// Refuses another number of bytes behind a header than it says.
fn check_bytes(shape: &[usize], size: usize, there: u64) -> Result<(), String> {
    let extents = shape.iter().map(|&extent| extent as u128);
    let needed = extents.fold(size as u128, u128::saturating_mul);
    if needed != u128::from(there) {
        return Err(format!(
            "the header says {shape:?} elements of {size} bytes, which are {needed} bytes, but {there} follow; \
             the file is damaged or cut off: copy or write it again"
        ));
    }
    Ok(())
}

fn parsed(bytes: &[u8]) -> Result<Array, String> {
    let (shape, element, _, start) = described(bytes)?;
    check_bytes(&shape, element.size, (bytes.len() - start) as u64)?;
    let floats = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect();
    let numbers = match &format!("{}{}", element.kind, element.size)[..] {
        "f4" => Numbers::Floats(elements(bytes)?),
        "f8" => Numbers::Floats(floats(elements(bytes)?)),
        "i1" => Numbers::Integers(integers::<i8>(bytes)?),
        "i2" => Numbers::Integers(integers::<i16>(bytes)?),
        "i4" => Numbers::Integers(integers::<i32>(bytes)?),
        "i8" => Numbers::Integers(integers::<i64>(bytes)?),
        "u1" => Numbers::Integers(integers::<u8>(bytes)?),
        "u2" => Numbers::Integers(integers::<u16>(bytes)?),
        "u4" => Numbers::Integers(integers::<u32>(bytes)?),
        "u8" => {
            let values = elements::<u64>(bytes)?.into_iter();
            let small = values.map(|value| i64::try_from(value).map_err(|_| value));
            let small = small.collect::<Result<_, _>>();
            Numbers::Integers(small.map_err(|value| {
                format!("it has {value}, and integers are taken up to {}", i64::MAX)
            })?)
        }
        _ => Numbers::Integers(
            elements::<bool>(bytes)?
                .into_iter()
                .map(i64::from)
                .collect(),
        ),
    };
    Ok(Array { shape, numbers })
}

/// An array's elements in row-major order, whatever order the file has.
fn elements<E: ReadableElement + Copy>(bytes: &[u8]) -> Result<Vec<E>, String> {
    let array = ArrayD::<E>::read_npy(bytes)
        .map_err(|error| format!("cannot be read as an array: {error}"))?;
    Ok(match array.is_standard_layout() {
        true => array.into_raw_vec_and_offset().0,
        false => array.iter().copied().collect(),
    })
}

fn integers<E: ReadableElement + Copy + Into<i64>>(bytes: &[u8]) -> Result<Vec<i64>, String> {
    Ok(elements::<E>(bytes)?.into_iter().map(Into::into).collect())
}

/// Where arrays are taken from by their names.
pub enum Source<R> {
    /// Of whose arrays inputs stay in their files that have more than so many bytes.
    Directory(PathBuf, u64),
    Archive(PathBuf, Box<ZipArchive<R>>),
}

impl Source<File> {
    /// The directory or archive that lies there.
    ///
    /// # Errors
    /// [`Error::File`] where it is neither.
    pub fn open(path: &Path) -> Result<Source<File>> {
        if path.is_dir() {
            return Ok(Source::Directory(path.to_path_buf(), LARGEST_IN_MEMORY));
        }
        let file = File::open(path)
            .map_err(|error| Error::file(path, format!("the arrays cannot be read: {error}")))?;
        Source::archive(file, path)
    }
}

impl<R: Read + Seek> Source<R> {
    /// An archive, wherever it comes from; errors call it by `path`.
    ///
    /// # Errors
    /// [`Error::File`] where it is none.
    pub fn archive(file: R, path: &Path) -> Result<Source<R>> {
        let archive = ZipArchive::new(file).map_err(|error| {
            Error::file(
                path,
                format!(
                    "not an .npz archive ({error}); data.path must be one, as numpy.savez writes it, or a directory of .npy files"
                ),
            )
        })?;
        Ok(Source::Archive(path.to_path_buf(), Box::new(archive)))
    }

    /// What it holds, in order of their names.
    pub fn names(&self) -> Vec<String> {
        let files: Vec<String> = match self {
            Source::Archive(_, archive) => archive.file_names().map(String::from).collect(),
            Source::Directory(path, _) => {
                let entries = path.read_dir().into_iter().flatten().flatten();
                entries
                    .filter_map(|entry| entry.file_name().into_string().ok())
                    .collect()
            }
        };
        let names = files.iter().filter_map(|file| file.strip_suffix(".npy"));
        let mut names: Vec<String> = names.map(str::to_string).collect();
        names.sort();
        names
    }

    /// What errors call the array of that name.
    fn place(&self, name: &str) -> PathBuf {
        match self {
            Source::Directory(path, _) | Source::Archive(path, _) => {
                path.join(format!("{name}.npy"))
            }
        }
    }

    /// The array of that name where it stays in its file: a large one, row-major, in a directory.
    ///
    /// # Errors
    /// [`Error::File`] where it is damaged or cut off.
    pub(crate) fn stored(&self, name: &str) -> Result<Option<StoredArray>> {
        let path = self.place(name);
        let (Source::Directory(_, most), Ok(mut file)) = (self, File::open(&path)) else {
            return Ok(None);
        };
        let refuse = |problem: String| Error::file(&path, problem);
        let cannot = |error: io::Error| refuse(format!("the array cannot be read: {error}"));
        let bytes = file.metadata().map_err(cannot)?.len();
        if bytes <= *most {
            return Ok(None);
        }
        let mut header = vec![];
        let longest = LARGEST_HEADER as u64 + 12;
        (&mut file)
            .take(longest)
            .read_to_end(&mut header)
            .map_err(cannot)?;
        let (shape, element, row_major, start) = described(&header).map_err(refuse)?;
        check_bytes(&shape, element.size, bytes - start as u64).map_err(refuse)?;
        Ok(row_major.then(|| StoredArray {
            file: Arc::new(file),
            path: path.clone(),
            shape,
            element,
            start: start as u64,
        }))
    }

    /// The shape of an array that stays in its file where it is the inputs; `None` of one that is read into memory.
    ///
    /// # Errors
    /// [`Error::File`] where it is damaged or cut off.
    pub fn shape_of_stored(&self, name: &str) -> Result<Option<Vec<usize>>> {
        Ok(self.stored(name)?.map(|array| array.shape))
    }

    /// The array of that name.
    ///
    /// # Errors
    /// [`Error::File`] where there is none, or it cannot be read.
    pub fn array(&mut self, name: &str) -> Result<Array> {
        let place = self.place(name);
        let cannot = |error: &dyn std::fmt::Display| {
            Error::file(&place, format!("the array cannot be read: {error}"))
        };
        let missing = |names: Vec<String>| {
            let names: Vec<String> = names
                .iter()
                .take(MOST_LISTED)
                .map(|name| shown(name))
                .collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let there = match names.is_empty() {
                true => "there are none".to_string(),
                false => format!("there is {}", listed(&names)),
            };
            let problem = format!(
                "there is no such array{}; {there}",
                did_you_mean(name, &names)
            );
            Error::file(&place, problem)
        };
        let names = self.names();
        let bytes = match self {
            Source::Directory(..) if !place.is_file() => return Err(missing(names)),
            Source::Directory(..) => {
                let file = File::open(&place).map_err(|error| cannot(&error))?;
                files::read_at_most(file, LARGEST_ARRAY).map_err(|error| cannot(&error))?
            }
            Source::Archive(_, archive) => {
                let member = match archive.by_name(&format!("{name}.npy")) {
                    Ok(member) => member,
                    Err(ZipError::FileNotFound) => return Err(missing(names)),
                    Err(error) => return Err(cannot(&error)),
                };
                files::read_at_most(member, LARGEST_ARRAY).map_err(|error| cannot(&error))?
            }
        };
        parse(&bytes, &place)
    }
}

impl Npy {
    /// Refuses what makes no sense whatever the arrays hold.
    ///
    /// # Errors
    /// [`Error::Usage`] that says what is allowed.
    pub fn validate(&self, loss: Loss) -> Result<()> {
        let refuse = |problem: String| Err(Error::Usage(problem));
        let fitting = match (&self.labels, &self.targets) {
            (Some(_), None) => Loss::CrossEntropy,
            (None, Some(_)) => Loss::MeanSquaredError,
            _ => {
                return refuse(
                    "data of kind npy have either data.labels, an array of classes, or data.targets, one of values".into(),
                );
            }
        };
        if loss != fitting {
            return refuse(match fitting {
                Loss::CrossEntropy => {
                    "data.labels are classes, so network.head must have loss = \"cross-entropy\"".into()
                }
                Loss::MeanSquaredError => {
                    "data.targets are values, so network.head must have loss = \"mean-squared-error\"".into()
                }
            });
        }
        for (key, size) in [("classes", self.classes), ("vocabulary", self.vocabulary)] {
            if size.is_some_and(|size| !(1..=1 << 24).contains(&size)) {
                return refuse(format!(
                    "data.{key} is {}; it must be 1 to {}, or left out",
                    size.unwrap_or_default(),
                    1 << 24
                ));
            }
        }
        if !(0.0..1.0).contains(&self.test_fraction) {
            return refuse(format!(
                "data.test_fraction is {}; it must be at least 0 and below 1",
                self.test_fraction
            ));
        }
        match (self.split_by, &self.groups) {
            (SplitBy::Group, None) => refuse(
                "data.split_by is \"group\", but there is no data.groups that names an array"
                    .into(),
            ),
            _ => Ok(()),
        }
    }

    /// Reads both splits; prepared as `known` says, or else as the training split has it.
    ///
    /// # Errors
    /// [`Error::File`], with the array, for what cannot be read or does not go together.
    pub fn load(&self, seed: u64, known: Option<&Preparation>) -> Result<Splits> {
        let test = self.test_path.as_ref().map(|path| Source::open(path));
        self.split(
            &mut Source::open(&self.path)?,
            test.transpose()?.as_mut(),
            seed,
            known,
        )
    }

    /// [`Npy::load`] of arrays wherever they come from.
    ///
    /// # Errors
    /// Those of [`Npy::load`].
    pub fn split<R: Read + Seek>(
        &self,
        source: &mut Source<R>,
        test: Option<&mut Source<R>>,
        seed: u64,
        known: Option<&Preparation>,
    ) -> Result<Splits> {
        let (data, groups) = self.read(source, self.classes)?;
        let classes = match &data.targets {
            Targets::Classes { classes, .. } => Some(*classes),
            Targets::Values { .. } => None,
        };
        let (mut train, mut test) = match (test, self.of_test(&source.names())) {
            (Some(test), _) => (data, Some(self.read(test, classes)?.0)),
            (None, Some(of_test)) => (data, Some(of_test.read(source, classes)?.0)),
            (None, None) => {
                let (train, test) = divide(&groups, self.split_by, self.test_fraction, seed)
                    .map_err(|problem| Error::file(&self.path, problem))?;
                let test = (!test.is_empty()).then(|| data.select(&test));
                (data.select(&train), test)
            }
        };
        let preparation = match known {
            Some(known) => known.clone(),
            None => self.learn(&train)?,
        };
        self.prepare(&mut train, &preparation)?;
        test.iter_mut()
            .try_for_each(|test| self.prepare(test, &preparation))?;
        Ok(Splits {
            train: train.into(),
            test: test.map(Dataset::into),
            preparation,
        })
    }

    /// Of arrays called `x_train` and `y_train`, the same of `x_test` and `y_test`, where these are among the names.
    fn of_test(&self, names: &[String]) -> Option<Npy> {
        let mut of_test = self.clone();
        let named = [
            &mut of_test.labels,
            &mut of_test.targets,
            &mut of_test.lengths,
        ];
        let named = named.into_iter().flatten();
        for name in named.chain([&mut of_test.inputs]) {
            *name = format!("{}_test", name.strip_suffix("_train")?);
            names.contains(name).then_some(())?;
        }
        // Both splits are told already.
        of_test.groups = None;
        Some(of_test)
    }

    /// The sequences of arrays in another place, prepared as `known` says; there need be no answers, and those of the set are
    /// nobody's.
    ///
    /// # Errors
    /// Those of [`Npy::load`].
    pub fn sequences(&self, path: &Path, known: &Preparation) -> Result<Dataset> {
        let mut data = match path.extension().is_some_and(|ending| ending == "npy") {
            true => {
                let bytes =
                    File::open(path).and_then(|file| files::read_at_most(file, LARGEST_ARRAY));
                let bytes = bytes.map_err(|error| {
                    Error::file(path, format!("the array cannot be read: {error}"))
                })?;
                self.shaped(parse(&bytes, path)?, None, path)?
            }
            false => {
                let mut source = Source::open(path)?;
                // Sequences of full length need not say so.
                let lengths = self
                    .lengths
                    .as_ref()
                    .filter(|name| source.names().contains(name));
                let lengths = lengths
                    .map(|name| read_lengths(&mut source, name))
                    .transpose()?;
                self.inputs(&mut source, lengths)?
            }
        };
        self.prepare(&mut data, known)?;
        Ok(data)
    }

    /// The inputs of a source: in memory, or in their file, with a class 0 for each that nobody asked for.
    fn inputs<R: Read + Seek>(
        &self,
        source: &mut Source<R>,
        lengths: Option<Vec<usize>>,
    ) -> Result<Dataset> {
        let place = source.place(&self.inputs);
        let stored = match self.vocabulary {
            None => source.stored(&self.inputs)?,
            Some(_) => None,
        };
        let Some(array) = stored else {
            return self.shaped(source.array(&self.inputs)?, lengths, &place);
        };
        let (count, sizes, end_to_end) = self.sizes(&array.shape, lengths.as_deref(), &place)?;
        let [steps, features] = sizes;
        if count > u32::MAX as usize
            || steps
                .checked_mul(features)
                .is_none_or(|each| each as u64 > MOST_NUMBERS)
        {
            let problem = format!(
                "there are {count} sequences of {steps} steps and {features} features; at most {} of {MOST_NUMBERS} numbers each \
                 are taken",
                u32::MAX
            );
            return Err(Error::file(&place, problem));
        }
        let length = |n: usize| lengths.as_ref().map_or(steps, |lengths| lengths[n]);
        Ok(Dataset {
            count,
            steps,
            features,
            inputs: Inputs::Stored(Stored::new(
                array,
                sizes,
                (0..count).map(length),
                end_to_end,
            )),
            targets: nobody_asked(count),
            lengths: lengths.map(counts),
        })
    }

    /// N, `[T, I]`, and whether the sequences lie end to end.
    fn sizes(
        &self,
        shape: &[usize],
        lengths: Option<&[usize]>,
        place: &Path,
    ) -> Result<(usize, [usize; 2], bool)> {
        let refuse = |problem: String| Err(Error::file(place, problem));
        let tokens = self.vocabulary.is_some();
        let ragged = |rows: usize, lengths: &[usize]| {
            let sum = lengths
                .iter()
                .try_fold(0usize, |sum, &length| sum.checked_add(length));
            lengths.len() != rows && sum == Some(rows)
        };
        // End to end, or [N, T] or [N, T, I].
        let (count, steps, features, end_to_end) = match (shape, lengths) {
            (&[rows], Some(lengths)) if ragged(rows, lengths) => (lengths.len(), 0, 1, true),
            (&[rows, features], Some(lengths)) if !tokens && ragged(rows, lengths) => {
                (lengths.len(), 0, features, true)
            }
            (&[count, steps], _) => (count, steps, 1, false),
            (&[count, steps, features], _) if !tokens => (count, steps, features, false),
            _ => {
                let expected = match (tokens, lengths.is_some()) {
                    (true, _) => "tokens must be [N, T], or end to end [R]",
                    (false, true) => {
                        "inputs must be [N, T, I] or [N, T], or end to end [R, I], where R is the sum of the lengths"
                    }
                    (false, false) => "inputs must be [N, T, I], or [N, T] of one feature",
                };
                return refuse(format!("the array is {shape:?}; {expected}"));
            }
        };
        let steps = match (lengths, end_to_end) {
            (Some(lengths), true) => lengths.iter().copied().max().unwrap_or(0),
            _ => steps,
        };
        if count == 0 || steps == 0 || features == 0 {
            return refuse(format!(
                "there are {count} sequences of {steps} steps and {features} features; there must be at least one of each"
            ));
        }
        if let Some(lengths) = lengths {
            if lengths.len() != count {
                return refuse(format!(
                    "there are {count} sequences and {} lengths",
                    lengths.len()
                ));
            }
            if let Some(n) = lengths.iter().position(|&length| length > steps) {
                return refuse(format!(
                    "there are {steps} steps, but the length of sequence {n} is {}",
                    lengths[n]
                ));
            }
        }
        Ok((count, [steps, features], end_to_end))
    }

    /// The inputs `[N, T, I]`, padded, with a class 0 for each that nobody asked for.
    fn shaped(&self, array: Array, lengths: Option<Vec<usize>>, place: &Path) -> Result<Dataset> {
        let refuse = |problem: String| Err(Error::file(place, problem));
        let (count, [steps, features], end_to_end) =
            self.sizes(&array.shape, lengths.as_deref(), place)?;
        let numbers = [steps, features]
            .iter()
            .fold(count as u128, |all, &of| all.saturating_mul(of as u128));
        if numbers > u128::from(MOST_NUMBERS) {
            return refuse(format!(
                "there are {count} sequences of {steps} steps and {features} features; at most {MOST_NUMBERS} numbers are taken \
                 into memory. An array [N, T, I] of numbers in a directory (numpy.save) may have more"
            ));
        }
        let spread = |of: usize| of * features;
        let inputs = match self.vocabulary {
            None => {
                let values = array.floats();
                if let Some(at) = values.iter().position(|value| value.is_infinite()) {
                    return refuse(format!("element {at} is infinite; numbers must be finite"));
                }
                let mut values = match (&lengths, end_to_end) {
                    (Some(lengths), true) => padded(&values, lengths, steps, features, 0.0),
                    _ => values,
                };
                // What is past an end counts for nothing.
                for (n, &length) in lengths.iter().flatten().enumerate() {
                    values[spread(n * steps + length)..spread((n + 1) * steps)].fill(0.0);
                }
                Inputs::Floats(values)
            }
            Some(vocabulary) => {
                let values = array.integers().map(|values| match (&lengths, end_to_end) {
                    (Some(lengths), true) => padded(&values, lengths, steps, 1, 0),
                    _ => values,
                });
                let Some(mut values) = values else {
                    return refuse("tokens must be whole numbers".into());
                };
                for (n, &length) in lengths.iter().flatten().enumerate() {
                    values[n * steps + length..(n + 1) * steps].fill(0);
                }
                let below = |&value: &i64| (0..vocabulary as i64).contains(&value);
                if let Some(at) = values.iter().position(|value| !below(value)) {
                    return refuse(format!(
                        "the token at [{}, {}] is {}; with data.vocabulary = {vocabulary} tokens must be 0 to {}",
                        at / steps,
                        at % steps,
                        values[at],
                        vocabulary - 1
                    ));
                }
                Inputs::Tokens {
                    values: values.into_iter().map(|value| value as u32).collect(),
                    vocabulary,
                }
            }
        };
        Ok(Dataset {
            count,
            steps,
            features,
            inputs,
            targets: nobody_asked(count),
            lengths: lengths.map(counts),
        })
    }

    /// A source's sequences with their answers, and the group of each.
    fn read<R: Read + Seek>(
        &self,
        source: &mut Source<R>,
        classes: Option<usize>,
    ) -> Result<(Dataset, Vec<i64>)> {
        let lengths = self
            .lengths
            .as_ref()
            .map(|name| read_lengths(source, name))
            .transpose()?;
        let mut data = self.inputs(source, lengths)?;
        let (count, steps) = (data.count, data.steps);
        let lengths = data.lengths.clone();
        let lengths: Option<Vec<usize>> =
            lengths.map(|lengths| lengths.into_iter().map(|length| length as usize).collect());
        // Rows of sequences that lie end to end.
        let rows = lengths
            .as_ref()
            .map(|lengths| lengths.iter().sum::<usize>());
        if let Some(name) = &self.labels {
            let (place, array) = (source.place(name), source.array(name)?);
            let refuse = |problem: String| Err(Error::file(&place, problem));
            let Some(labels) = array.integers() else {
                return refuse(
                    "labels must be whole numbers; for values, name the array as data.targets"
                        .into(),
                );
            };
            let (labels, per_step) = match (&array.shape[..], &lengths) {
                (&[n] | &[n, 1], _) if n == count => (labels, false),
                (&[n, t], _) if (n, t) == (count, steps) => (labels, true),
                (&[r], Some(lengths)) if Some(r) == rows => {
                    (padded(&labels, lengths, steps, 1, -1), true)
                }
                _ => {
                    return refuse(format!(
                        "the array is {:?}; for these inputs labels must be [{count}], or [{count}, {steps}] for one at each step",
                        array.shape
                    ));
                }
            };
            let largest = labels.iter().copied().max().unwrap_or(0).max(0);
            let classes = classes.unwrap_or(largest.saturating_add(1).max(2) as usize);
            let ended = |at: usize| {
                let lengths = lengths.as_ref().filter(|_| per_step);
                lengths.is_some_and(|lengths| at % steps >= lengths[at / steps])
            };
            let wrong = |at: usize| {
                let label = labels[at];
                label >= classes as i64 && !ended(at) || label < 0 && !per_step
            };
            if let Some(at) = (0..labels.len()).find(|&at| wrong(at)) {
                let at_step = if per_step { at / steps } else { at };
                return refuse(format!(
                    "the label of sequence {at_step} is {}; with {classes} classes labels must be 0 to {}{}",
                    labels[at],
                    classes - 1,
                    if per_step {
                        ", or negative where a step counts for nothing"
                    } else {
                        ""
                    }
                ));
            }
            if classes > 1 << 24 {
                return refuse(format!(
                    "the largest label is {largest}; at most {} classes are possible",
                    1 << 24
                ));
            }
            let label = |label: i64| u32::try_from(label).unwrap_or(IGNORE);
            data.targets = Targets::Classes {
                labels: labels.into_iter().map(label).collect(),
                classes,
                per_step,
            };
        }
        if let Some(name) = &self.targets {
            let (place, array) = (source.place(name), source.array(name)?);
            let refuse = |problem: String| Err(Error::file(&place, problem));
            let shape = array.shape.clone();
            let (width, per_step, end_to_end) = match (&shape[..], &lengths) {
                (&[n], _) if n == count => (1, false, false),
                (&[n, t, width], _) if (n, t) == (count, steps) => (width, true, false),
                (&[n, width], _) if n == count => (width, false, false),
                (&[r, width], Some(_)) if Some(r) == rows => (width, true, true),
                (&[r], Some(_)) if Some(r) == rows => (1, true, true),
                _ => {
                    return refuse(format!(
                        "the array is {shape:?}; for these inputs targets must be [{count}, K], or [{count}, {steps}, K] for some \
                         at each step"
                    ));
                }
            };
            let numbers = count as u128 * steps as u128 * width as u128;
            if width == 0 || per_step && numbers > u128::from(MOST_NUMBERS) {
                return refuse(format!(
                    "there are {width} values each; there must be at least one, and at most {MOST_NUMBERS} numbers in all"
                ));
            }
            let mut values = array.floats();
            if let (Some(lengths), true) = (&lengths, end_to_end) {
                values = padded(&values, lengths, steps, width, 0.0);
            }
            if let (Some(lengths), true) = (&lengths, per_step) {
                for (n, &length) in lengths.iter().enumerate() {
                    values[(n * steps + length) * width..(n + 1) * steps * width].fill(0.0);
                }
            }
            if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                return refuse(format!(
                    "element {at} is {}; what is to be answered must be finite",
                    values[at]
                ));
            }
            data.targets = Targets::Values {
                values,
                width,
                per_step,
            };
        }
        let groups = match &self.groups {
            None => (0..count as i64).collect(),
            Some(name) => {
                let (place, array) = (source.place(name), source.array(name)?);
                match array.integers() {
                    Some(groups) if groups.len() == count => groups,
                    _ => {
                        let problem = format!(
                            "the array is {:?}; groups must be {count} whole numbers, one for each sequence",
                            array.shape
                        );
                        return Err(Error::file(&place, problem));
                    }
                }
            }
        };
        Ok((data, groups))
    }

    /// What the training split says of the features.
    fn learn(&self, train: &Dataset) -> Result<Preparation> {
        let mut preparation = Preparation::default();
        let wanted = self.normalise || self.missing == Missing::Mean;
        let normals = match &train.inputs {
            Inputs::Floats(values) if wanted => {
                let (steps, features) = (train.steps, train.features);
                let length = |n: usize| train.lengths.as_ref().map_or(steps, |all| all[n] as usize);
                let rows = values.chunks(steps * features).enumerate();
                let rows = rows.flat_map(|(n, rows)| rows[..length(n) * features].chunks(features));
                Normal::of(rows, features)
            }
            Inputs::Stored(stored) if wanted => stored.normals()?,
            _ => vec![],
        };
        if self.missing == Missing::Mean {
            preparation.means = normals.iter().map(|normal| normal.mean).collect();
        }
        if self.normalise {
            preparation.inputs = normals;
        }
        if let (
            Targets::Values {
                values,
                width,
                per_step,
            },
            true,
        ) = (&train.targets, self.normalise)
        {
            let each = if *per_step { train.steps } else { 1 };
            let length = |n: usize| match (&train.lengths, per_step) {
                (Some(lengths), true) => lengths[n] as usize,
                _ => each,
            };
            let rows = values.chunks(each * width).enumerate();
            let rows = rows.flat_map(|(n, rows)| rows[..length(n) * width].chunks(*width));
            preparation.targets = Normal::of(rows, *width);
        }
        Ok(preparation)
    }

    fn prepare(&self, data: &mut Dataset, preparation: &Preparation) -> Result<()> {
        let (steps, features) = (data.steps, data.features);
        if let Inputs::Floats(values) = &mut data.inputs {
            for (n, rows) in values.chunks_mut(steps * features).enumerate() {
                let length = data.lengths.as_ref().map_or(steps, |all| all[n] as usize);
                let rows = &mut rows[..length * features];
                let filled = preparation.fill(self.missing, rows, features);
                filled.map_err(|at| {
                    let place = self.path.join(format!("{}.npy", self.inputs));
                    Error::file(place, self.missing.refusal(n, at))
                })?;
                Normal::apply_all(&preparation.inputs, rows);
            }
        }
        if let Inputs::Stored(stored) = &mut data.inputs {
            stored.prepare(self.missing, preparation);
        }
        if let Targets::Values { values, .. } = &mut data.targets {
            Normal::apply_all(&preparation.targets, values);
        }
        Ok(())
    }
}

/// A class 0 for each of N sequences.
fn nobody_asked(count: usize) -> Targets {
    Targets::Classes {
        labels: vec![0; count],
        classes: 1,
        per_step: false,
    }
}

fn counts(lengths: Vec<usize>) -> Vec<u32> {
    lengths.into_iter().map(|length| length as u32).collect()
}

fn read_lengths<R: Read + Seek>(source: &mut Source<R>, name: &str) -> Result<Vec<usize>> {
    let (place, array) = (source.place(name), source.array(name)?);
    let lengths = array.integers().filter(|_| array.shape.len() == 1);
    let lengths = lengths.and_then(|lengths| {
        let lengths = lengths
            .into_iter()
            .map(|length| usize::try_from(length).ok());
        lengths.collect::<Option<Vec<usize>>>()
    });
    lengths.ok_or_else(|| {
        let problem = format!(
            "the array is {:?}; lengths must be [N] whole numbers, none negative",
            array.shape
        );
        Error::file(&place, problem)
    })
}

/// Rows that lie end to end as `[N, T, width]`, with `padding` past each end.
fn padded<V: Copy>(
    rows: &[V],
    lengths: &[usize],
    steps: usize,
    width: usize,
    padding: V,
) -> Vec<V> {
    let (mut all, mut rest) = (Vec::with_capacity(lengths.len() * steps * width), rows);
    for &length in lengths {
        let (own, later) = rest.split_at((length * width).min(rest.len()));
        all.extend(own);
        all.resize(all.len() + steps * width - own.len(), padding);
        rest = later;
    }
    all
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use ndarray::{Array1, Array2, Array3, ShapeBuilder};
    use ndarray_npy::WriteNpyExt;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn bytes(array: &impl WriteNpyExt) -> Vec<u8> {
        let mut bytes = vec![];
        array.write_npy(&mut bytes).expect("it can be written");
        bytes
    }

    fn archive(members: &[(&str, Vec<u8>)]) -> Source<Cursor<Vec<u8>>> {
        let mut writer = ZipWriter::new(Cursor::new(vec![]));
        for (name, bytes) in members {
            let options = SimpleFileOptions::default();
            writer
                .start_file(format!("{name}.npy"), options)
                .expect("it can be written");
            writer.write_all(bytes).expect("it can be written");
        }
        let file = writer.finish().expect("it can be written");
        Source::archive(file, Path::new("data.npz")).expect("it is one")
    }

    fn npy(labels: bool) -> Npy {
        Npy {
            path: "data.npz".into(),
            inputs: "x".into(),
            labels: labels.then(|| "y".into()),
            targets: (!labels).then(|| "y".into()),
            lengths: None,
            groups: None,
            classes: None,
            vocabulary: None,
            test_path: None,
            test_fraction: 0.25,
            split_by: SplitBy::Order,
            normalise: false,
            missing: Missing::Refuse,
        }
    }

    fn floats(data: &Dataset) -> &[f32] {
        match &data.inputs {
            Inputs::Floats(values) => values,
            _ => panic!("floats expected"),
        }
    }

    #[test]
    fn every_type_and_order_is_read_alike() {
        let numbers = Array2::from_shape_fn((2, 3), |(i, j)| (3 * i + j) as f64);
        let fortran = Array2::from_shape_fn((2, 3).f(), |(i, j)| (3 * i + j) as f32);
        let expected = vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        for bytes in [bytes(&numbers), bytes(&fortran)] {
            let array = parse(&bytes, Path::new("x.npy")).expect("it is one");
            assert_eq!(
                (&array.shape[..], array.clone().floats()),
                (&[2, 3][..], expected.clone())
            );
        }
        let whole = [
            bytes(&numbers.mapv(|value| value as i8)),
            bytes(&numbers.mapv(|value| value as u16)),
            bytes(&numbers.mapv(|value| value as i64)),
            bytes(&numbers.mapv(|value| value as u64)),
        ];
        for bytes in whole {
            let array = parse(&bytes, Path::new("x.npy")).expect("it is one");
            assert_eq!(array.integers(), Some(vec![0, 1, 2, 3, 4, 5]));
        }
        let array = parse(
            &bytes(&numbers.mapv(|value| value > 2.0)),
            Path::new("x.npy"),
        );
        assert_eq!(
            array.expect("it is one").integers(),
            Some(vec![0, 0, 0, 1, 1, 1])
        );
    }

    #[test]
    fn a_wrong_array_is_named() {
        let good = bytes(&Array1::from(vec![1.0f32, 2.0]));
        let refused = |bytes: &[u8], expected: &str| {
            let message = parse(bytes, Path::new("x.npy"))
                .expect_err(expected)
                .to_string();
            assert!(
                message.starts_with("x.npy: ") && message.contains(expected),
                "{message}"
            );
        };
        refused(b"PK", "not an .npy array");
        for length in 6..128 {
            refused(&good[..length], "cut off");
        }
        refused(&[&good[..], &[0]].concat(), "8 bytes, but 9 follow");
        let text = String::from_utf8_lossy(&good[10..128]).into_owned();
        let with = |text: String| [&good[..10], text.as_bytes(), &good[128..]].concat();
        refused(
            &with(text.replace("(2,)", "(9,)")),
            "36 bytes, but 8 follow",
        );
        refused(
            &with(text.replace("<f4", "<c8")),
            "its elements are of type <c8",
        );
        refused(&with("(".repeat(118)), "an array of records");
    }

    #[test]
    fn arrays_become_sequences_and_are_split() {
        let x = Array3::from_shape_fn((4, 3, 2), |(n, t, i)| (6 * n + 2 * t + i) as f32);
        let y = Array1::from(vec![0i64, 1, 2, 1]);
        let mut source = archive(&[("x", bytes(&x)), ("y", bytes(&y))]);
        let splits = npy(true)
            .split(&mut source, None, 0, None)
            .expect("it makes sense");
        let test = splits.test.expect("there is one");
        assert_eq!(
            (
                splits.train.count,
                splits.train.steps,
                splits.train.features
            ),
            (3, 3, 2)
        );
        assert_eq!(floats(&test), [18.0, 19.0, 20.0, 21.0, 22.0, 23.0]);
        assert_eq!(test.targets.outputs(), 3);

        // By chance, but the same each time; groups stay together.
        let drawn = |seed: u64, groups: Option<&str>| {
            let groups_array = Array1::from(vec![7i32, 7, 9, 9]);
            let mut source = archive(&[
                ("x", bytes(&x)),
                ("y", bytes(&y)),
                ("g", bytes(&groups_array)),
            ]);
            let mut recipe = npy(true);
            recipe.groups = groups.map(str::to_string);
            recipe.split_by = if groups.is_some() {
                SplitBy::Group
            } else {
                SplitBy::Random
            };
            let test = recipe
                .split(&mut source, None, seed, None)
                .expect("it makes sense")
                .test;
            floats(&test.expect("there is one")).to_vec()
        };
        assert_eq!(drawn(3, None), drawn(3, None));
        assert!((0..9).any(|seed| drawn(seed, None) != drawn(0, None)));
        let pair = drawn(1, Some("g"));
        assert!(
            pair.len() == 12 && [0.0, 12.0].contains(&pair[0]),
            "{pair:?}"
        );
    }

    #[test]
    fn arrays_called_test_are_the_test_split() {
        let x = Array3::from_shape_fn((4, 3, 2), |(n, t, i)| (6 * n + 2 * t + i) as u8);
        let x_test = Array3::from_elem((2, 3, 2), 9u8);
        let y = Array1::from(vec![0u8, 1, 2, 1]);
        let members = [
            ("x_train", bytes(&x)),
            ("y_train", bytes(&y)),
            ("x_test", bytes(&x_test)),
            ("y_test", bytes(&Array1::from(vec![1u8, 0]))),
        ];
        let mut recipe = npy(true);
        (recipe.inputs, recipe.labels) = ("x_train".into(), Some("y_train".into()));
        let splits = recipe.split(&mut archive(&members), None, 0, None);
        let Splits { train, test, .. } = splits.expect("it makes sense");
        let test = test.expect("there is one");
        assert_eq!((train.count, test.count, test.targets.outputs()), (4, 2, 3));
        assert_eq!(floats(&test), [9.0; 12]);
        // Without the answers they are only two more arrays.
        let splits = recipe.split(&mut archive(&members[..3]), None, 0, None);
        assert_eq!(splits.expect("it makes sense").train.count, 3);
    }

    #[test]
    fn ragged_sequences_are_padded_or_lie_end_to_end() {
        let lengths = Array1::from(vec![2u8, 3, 1]);
        let rows = Array2::from_shape_fn((6, 1), |(r, _)| r as f32 + 1.0);
        let steps = Array1::from(vec![0i32, 1, 1, 0, 1, 0]);
        let mut recipe = npy(true);
        (recipe.lengths, recipe.test_fraction) = (Some("n".into()), 0.0);
        let mut source = archive(&[
            ("x", bytes(&rows)),
            ("y", bytes(&steps)),
            ("n", bytes(&lengths)),
        ]);
        let data = recipe
            .split(&mut source, None, 0, None)
            .expect("it makes sense")
            .train;
        assert_eq!(floats(&data), [1.0, 2.0, 0.0, 3.0, 4.0, 5.0, 6.0, 0.0, 0.0]);
        assert_eq!(data.lengths, Some(vec![2, 3, 1]));
        let ignored = IGNORE;
        assert_eq!(data.labels(), [0, 1, ignored, 1, 0, 1, 0, ignored, ignored]);

        // What is past an end counts for nothing, NaN too.
        let padded = Array3::from_shape_fn((3, 3, 1), |(n, t, _)| {
            if t < [2, 3, 1][n] {
                (n + t) as f64
            } else {
                f64::NAN
            }
        });
        let mut recipe = npy(false);
        (recipe.lengths, recipe.test_fraction, recipe.normalise) = (Some("n".into()), 0.0, true);
        let y = Array1::from(vec![1.0f32, 2.0, 6.0]);
        let mut source = archive(&[
            ("x", bytes(&padded)),
            ("y", bytes(&y)),
            ("n", bytes(&lengths)),
        ]);
        let splits = recipe
            .split(&mut source, None, 0, None)
            .expect("it makes sense");
        splits.train.check().expect("it makes sense");
        // Of 0 1 1 2 3 2.
        assert!((splits.preparation.inputs[0].mean - 1.5).abs() < 1e-6);
        assert_eq!(splits.preparation.targets[0].mean, 3.0);
        assert_eq!(floats(&splits.train)[2], 0.0);
    }

    #[test]
    fn arrays_that_do_not_go_together_are_named() {
        let x = Array3::<f32>::zeros((4, 3, 2));
        let refused = |recipe: &Npy, y: Vec<u8>, expected: &str| {
            let mut source = archive(&[("x", bytes(&x)), ("y", y)]);
            let error = recipe
                .split(&mut source, None, 0, None)
                .expect_err(expected);
            assert_eq!(error.exit_code(), 1);
            assert!(error.to_string().contains(expected), "{error}");
        };
        let labels = npy(true);
        refused(
            &labels,
            bytes(&Array1::from(vec![1i32; 5])),
            "data.npz/y.npy: the array is [5]",
        );
        refused(
            &labels,
            bytes(&Array1::from(vec![0.5f32; 4])),
            "labels must be whole numbers",
        );
        refused(
            &labels,
            bytes(&Array1::from(vec![0, 1, -1, 1i32])),
            "the label of sequence 2 is -1",
        );
        let few = Npy {
            classes: Some(2),
            ..npy(true)
        };
        refused(
            &few,
            bytes(&Array1::from(vec![0, 1, 2, 1i32])),
            "with 2 classes labels must be 0 to 1",
        );
        refused(
            &npy(false),
            bytes(&Array2::<f32>::zeros((3, 2))),
            "targets must be [4, K]",
        );
        refused(
            &npy(false),
            bytes(&Array1::from(vec![f32::NAN; 4])),
            "element 0 is NaN",
        );
        let other = Npy {
            inputs: "xx".into(),
            ..npy(true)
        };
        refused(
            &other,
            bytes(&Array1::from(vec![0i32; 4])),
            "there is `x` or `y`",
        );
        let tokens = Npy {
            vocabulary: Some(9),
            ..npy(true)
        };
        refused(
            &tokens,
            bytes(&Array1::from(vec![0i32; 4])),
            "tokens must be [N, T]",
        );
        let mut broken = Array3::<f32>::zeros((4, 3, 2));
        broken[[2, 1, 0]] = f32::NAN;
        let mut source = archive(&[
            ("x", bytes(&broken)),
            ("y", bytes(&Array1::from(vec![0i32, 1, 0, 1]))),
        ]);
        let message = labels
            .split(&mut source, None, 0, None)
            .expect_err("NaN")
            .to_string();
        assert!(
            message.contains("sequence 2, step 1, feature 0 is NaN"),
            "{message}"
        );
    }
}
