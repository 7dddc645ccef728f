//! A run as a folder of static files that train it in a browser through WebGPU.
//!
//! A recorded step is plain data, so its WGSL, uniforms, grids and buffers are written as JSON and
//! binary files, and the modules in `site/` play them. What the host decides between two updates is
//! computed in advance (learning rates), or computed by the player and checked against values of
//! this program (the order of each epoch). Recipes that need more of the host are refused.

mod blob;
mod cases;
mod cpu;
mod model;
mod program;
mod run;
mod trial;

use std::sync::Arc;

pub use cpu::{CpuPlayer, PlayedTensor};
use serde::Serialize;

use crate::backend::OpenDevice;
use crate::backend::tuning::Tuning;
use crate::data::{Dataset, Splits};
use crate::error::{Error, Result};
use crate::messages::mebibytes;
use crate::program::{Phase, Program};
use crate::recipe::Recipe;
use crate::recipe::schedule::Schedule;
use crate::record::RecordedNetwork;
use crate::train::Trainer;
use blob::Blob;

/// The version of the files, which the player checks.
const VERSION: u32 = 1;

/// The most bytes of a program's buffers. A browser allows about so much for one page.
const MOST_BYTES: u64 = 1 << 30;

/// The most workgroups in a dimension that WebGPU guarantees.
const MOST_WORKGROUPS: u32 = 65535;

/// The cases of a verification that the page can play.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SiteCases {
    /// None.
    None,
    /// The smallest cases of the quick sweep that together have all of its shaders.
    #[default]
    Covering,
    /// All cases of the quick sweep.
    Quick,
}

/// What a site contains.
#[derive(Debug, Clone)]
pub struct SiteOptions {
    /// Sequences of the training split, from its first one on; `None` for all.
    pub train: Option<usize>,
    /// Sequences of the validation and of the test split; `None` for all.
    pub evaluated: Option<usize>,
    /// Updates that are played on the CPU now, whose losses the page compares with its own.
    pub checked_steps: usize,
    pub cases: SiteCases,
    /// The library as a WebAssembly module (`web/` in the source), with which the page trains on
    /// the visitor's own files too.
    pub module: Option<Vec<u8>>,
}

impl Default for SiteOptions {
    /// All data, 30 checked updates and the cases that cover the sweep's shaders.
    fn default() -> Self {
        SiteOptions {
            train: None,
            evaluated: None,
            checked_steps: 30,
            cases: SiteCases::default(),
            module: None,
        }
    }
}

/// A file of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteFile {
    /// Its name in the folder.
    pub name: &'static str,
    pub bytes: Vec<u8>,
}

/// The modules of the page: the name of each with its text.
macro_rules! modules {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("site/", $name)))),*]
    };
}

/// The modules of the page, each after those that import it.
const MODULES: [(&str, &str); 15] = modules![
    "page.js",
    "own.js",
    "drawing.js",
    "sampling.js",
    "trial.js",
    "chart.js",
    "dom.js",
    "check.js",
    "player.js",
    "device.js",
    "cpu.js",
    "library.js",
    "worker.js",
    "files.js",
    "random.js",
];

/// The page, and what is recorded for it.
const PAGE: &str = "index.html";
const PROGRAM: &str = "program.json";
const DATA: &str = "data.bin";
const CASES: [&str; 2] = ["cases.bin", "values.bin"];

/// The library as a WebAssembly module.
const LIBRARY: &str = "gatescan.wasm";

/// The first bytes of every WebAssembly module.
const LIBRARY_HEAD: &[u8] = b"\0asm";

/// Returns the names of the files of a site, in the order of [`site`].
pub fn file_names(options: &SiteOptions) -> impl Iterator<Item = &'static str> {
    let modules = MODULES.into_iter().map(|(name, _)| name);
    let files = std::iter::once(PAGE).chain(modules);
    let recorded = [PROGRAM, DATA].into_iter().chain(CASES);
    let library = options.module.as_ref().map(|_| LIBRARY);
    files.chain(recorded).chain(library)
}

/// Everything of `program.json`.
#[derive(Serialize)]
struct Description<'a> {
    version: u32,
    gatescan: &'static str,
    recipe: &'a str,
    toml: String,
    /// The sizes of the network in a line.
    network: String,
    parameters: usize,
    needs: Needs,
    shaders: program::Shaders,
    train: program::ProgramText,
    run: run::RunText,
    model: model::ModelText,
    trial: trial::Trial,
    /// How many cases `cases.bin` and `values.bin` have.
    cases: usize,
    /// The file of the library as a WebAssembly module, if there is one.
    library: Option<&'static str>,
}

/// A run as data: what a browser needs to play it, and the programs of the CPU executor.
pub struct RecordedRun {
    /// `program.json`.
    pub description: Vec<u8>,
    /// `data.bin`.
    pub data: Vec<u8>,
    /// The program of a training step, then that of a trial, if there is one.
    programs: Vec<Program>,
}

/// The limits beyond those of WebGPU that the page asks for.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Needs {
    /// Bytes of the largest buffer.
    max_buffer_size: u64,
    max_storage_buffer_binding_size: u64,
}

/// Returns the files of a site that trains `recipe` on `data` in a browser. The same arguments give
/// the same bytes.
///
/// # Errors
/// [`Error::Usage`] for a recipe that the page cannot play, with the field, and for bytes that are
/// no WebAssembly module; those of [`Trainer::load`].
pub fn site(recipe: &Recipe, data: &Splits, options: &SiteOptions) -> Result<Vec<SiteFile>> {
    let library = options.module.clone();
    if let Some(library) = &library {
        check_library(library)?;
    }
    let cases = cases::Cases::record(options.cases)?;
    let recorded = record_with(recipe, data, options, cases.count)?;
    let modules = MODULES.map(|(_, text)| text.as_bytes().to_vec());
    let contents = std::iter::once(page().into_bytes())
        .chain(modules)
        .chain([recorded.description, recorded.data])
        .chain([cases.description, cases.values])
        .chain(library);
    let files = file_names(options).zip(contents);
    Ok(files
        .map(|(name, bytes)| SiteFile { name, bytes })
        .collect())
}

/// Records a run without the files of a page, as the module of a page does with the visitor's own
/// data. Of the options it takes the numbers of sequences and the checked updates.
///
/// # Errors
/// Those of [`site`].
pub fn record(recipe: &Recipe, data: &Splits, options: &SiteOptions) -> Result<RecordedRun> {
    record_with(recipe, data, options, 0)
}

/// [`record`], for a site with this number of cases to verify.
fn record_with(
    recipe: &Recipe,
    data: &Splits,
    options: &SiteOptions,
    cases: usize,
) -> Result<RecordedRun> {
    check_recipe(recipe)?;
    let whole = data;
    let data = first_sequences(whole, options)?;
    let device = OpenDevice::Cpu(tuning());
    let mut trainer = Trainer::load(recipe, &data, &device)?;
    if trainer.streams() {
        return Err(Error::usage(
            "the data do not fit into this machine's memory, and a page has all of them in \
             memory; take fewer sequences",
        ));
    }
    let needs = check_program(&trainer.recording().program)?;
    let mut blob = Blob::default();
    let mut shaders = program::Shaders::default();
    let train = shaders.program(&trainer.recording().program)?;
    let (trial, tried) = trial::Trial::new(&trainer, &data, &mut shaders, &mut blob)?;
    let model = model::ModelText::new(&mut trainer)?;
    let checked = (options.checked_steps, is_part(&data, whole));
    let run = run::RunText::new(&mut trainer, recipe, &mut blob, checked)?;
    let network = trainer.recording();
    let description = Description {
        version: VERSION,
        gatescan: env!("CARGO_PKG_VERSION"),
        recipe: &recipe.name,
        toml: recipe.to_toml()?,
        network: summary(network),
        parameters: network.parameters.len(),
        needs,
        shaders,
        train,
        run,
        model,
        trial,
        cases,
        library: options.module.as_ref().map(|_| LIBRARY),
    };
    let json = serde_json::to_vec(&description)
        .map_err(|error| Error::usage(format!("the program is not valid JSON: {error}")))?;
    let programs = std::iter::once(network.program.clone()).chain(tried);
    Ok(RecordedRun {
        description: json,
        data: blob.into_bytes(),
        programs: programs.collect(),
    })
}

/// Refuses bytes that are no WebAssembly module.
fn check_library(bytes: &[u8]) -> Result<()> {
    if bytes.starts_with(LIBRARY_HEAD) {
        return Ok(());
    }
    Err(Error::usage(
        "the library for the page is no WebAssembly module: it does not begin with the bytes \
         \\0asm; build it with `bash web/build`",
    ))
}

/// The tuning of a device with the limits that WebGPU guarantees: every browser can play it.
fn tuning() -> Tuning {
    Tuning::default()
}

/// The network in a line, as "lstm 128, of 28 steps".
fn summary(network: &RecordedNetwork) -> String {
    let layers = network.network.layers.iter();
    let layers = layers.map(|layer| {
        let sides = if layer.bidirectional {
            ", both directions"
        } else {
            ""
        };
        format!("{} {}{sides}", layer.cell.name(), layer.hidden_size)
    });
    let layers = layers.collect::<Vec<_>>().join(" + ");
    format!("{layers}, over {} steps", network.steps)
}

/// The page with its style sheet.
fn page() -> String {
    let style = [
        include_str!("../html/page.css"),
        include_str!("site/page.css"),
    ]
    .concat();
    include_str!("site/index.html").replace("/* style */", &style)
}

/// Refuses what the player cannot do.
fn check_recipe(recipe: &Recipe) -> Result<()> {
    let refused = |field: &str, why: &str, remedy: &str| {
        Err(Error::usage(format!(
            "{field}: a page {why}; {remedy}, or train it with `gatescan train`"
        )))
    };
    if recipe.accumulate.is_some_and(|batches| batches > 1) {
        return refused(
            "accumulate",
            "does not add up gradients of several batches",
            "leave it out",
        );
    }
    if recipe.parallel.micro_batches > 1 {
        return refused(
            "parallel.micro_batches",
            "does not divide its batches",
            "leave it out",
        );
    }
    if let Schedule::Plateau { .. } = recipe.schedule {
        return refused(
            "schedule.kind = \"plateau\"",
            "has its learning rates computed in advance, and plateaus are found in training",
            "use constant, step, exponential or cosine",
        );
    }
    if recipe.conformal {
        return refused("conformal", "does not adjust intervals", "leave it out");
    }
    Ok(())
}

/// Refuses a program beyond the limits of browsers; returns the limits that it needs.
fn check_program(program: &Program) -> Result<Needs> {
    let bytes = program.bytes(size_of::<f32>());
    if bytes > MOST_BYTES {
        return Err(Error::usage(format!(
            "a page has room for {}, and the network and its data need {}; take fewer sequences, \
             or reduce batch_size or the hidden size",
            mebibytes(MOST_BYTES),
            program.memory(size_of::<f32>())
        )));
    }
    for call in Phase::ALL.iter().flat_map(|&phase| program.calls(phase)) {
        let (kernel, grid) = (call.kernel().name(), call.kernel().grid());
        if grid.iter().any(|&workgroups| workgroups > MOST_WORKGROUPS) {
            return Err(Error::usage(format!(
                "the kernel {kernel} needs {grid:?} workgroups, and WebGPU guarantees \
                 {MOST_WORKGROUPS} in each dimension; reduce batch_size"
            )));
        }
    }
    let buffers = program.buffers().iter();
    let largest = buffers.map(|buffer| buffer.bytes(size_of::<f32>())).max();
    let largest = largest.unwrap_or(0);
    Ok(Needs {
        max_buffer_size: largest,
        max_storage_buffer_binding_size: largest,
    })
}

/// The first sequences of each split.
fn first_sequences(data: &Splits, options: &SiteOptions) -> Result<Splits> {
    let first = |split: &Arc<Dataset>, count: Option<usize>| -> Result<Arc<Dataset>> {
        match count.filter(|&count| count < split.count) {
            Some(count) => Ok(Arc::new(split.read(&(0..count).collect::<Vec<_>>())?)),
            None => Ok(Arc::clone(split)),
        }
    };
    let evaluated = |split: &Option<Arc<Dataset>>| {
        let split = split.as_ref();
        split
            .map(|split| first(split, options.evaluated))
            .transpose()
    };
    Ok(Splits {
        train: first(&data.train, options.train)?,
        validation: evaluated(&data.validation)?,
        test: evaluated(&data.test)?,
        ..data.clone()
    })
}

/// Whether a split has fewer sequences than in `whole`.
fn is_part(data: &Splits, whole: &Splits) -> bool {
    let counts = |splits: &Splits| {
        let evaluated = [&splits.validation, &splits.test];
        let evaluated = evaluated.map(|split| split.as_ref().map(|split| split.count));
        (splits.train.count, evaluated)
    };
    counts(data) != counts(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_page_cannot_play_is_refused_by_its_field() {
        let recipe = Recipe::load("series").expect("it is built in");
        check_recipe(&recipe).expect("it is played");
        let refused = |change: fn(&mut Recipe)| {
            let mut recipe = Recipe::load("series").expect("it is built in");
            change(&mut recipe);
            let error = check_recipe(&recipe).expect_err("it is refused");
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        };
        assert!(refused(|recipe| recipe.accumulate = Some(2)).starts_with("accumulate"));
        let divided = refused(|recipe| recipe.parallel.micro_batches = 2);
        assert!(divided.starts_with("parallel.micro_batches"));
        assert!(refused(|recipe| recipe.conformal = true).starts_with("conformal"));
        let plateau = "{ kind = \"plateau\" }";
        let set = format!("schedule={plateau}");
        let mut recipe = recipe;
        recipe.set(&[set]).expect("it is a schedule");
        let error = check_recipe(&recipe).expect_err("it is refused");
        assert!(error.to_string().contains("plateau"), "{error}");
    }

    #[test]
    fn a_site_has_all_modules_that_a_module_imports() {
        let names: Vec<_> = file_names(&SiteOptions::default()).collect();
        for (module, text) in MODULES {
            let imports = text.split("'./").skip(1);
            for name in imports.map(|import| import.split('\'').next().unwrap_or_default()) {
                assert!(names.contains(&name), "{module} imports {name}");
            }
        }
    }

    #[test]
    fn the_library_of_a_site_is_checked_and_named() {
        let mut options = SiteOptions::default();
        assert!(!file_names(&options).any(|name| name == LIBRARY));
        options.module = Some(vec![]);
        assert_eq!(file_names(&options).last(), Some(LIBRARY));
        check_library(b"\0asm\x01\0\0\0").expect("it is a module");
        for bytes in [&b""[..], b"\0as", b"<!doctype html>"] {
            let error = check_library(bytes).expect_err("it is none");
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("WebAssembly"), "{error}");
        }
    }

    #[test]
    fn the_page_has_its_style_sheet() {
        let page = page();
        assert!(page.contains("--page: #ffffff") && !page.contains("/* style */"));
    }
}
