//! A run as a folder of static files that train it in a browser through WebGPU.
//!
//! A recorded step is plain data, so its WGSL, uniforms, grids and buffers are written as JSON and
//! binary files, and the modules in `site/` play them. What the host decides between two updates is
//! computed in advance (learning rates), or computed by the player and checked against values of
//! this program (the order of each epoch). Recipes that need more of the host are refused.

mod blob;
mod cases;
mod model;
mod program;
mod run;
mod trial;

use std::sync::Arc;

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
#[derive(Debug, Clone, Copy)]
pub struct SiteOptions {
    /// Sequences of the training split, from its first one on; `None` for all.
    pub train: Option<usize>,
    /// Sequences of the validation and of the test split; `None` for all.
    pub evaluated: Option<usize>,
    /// Updates that are played on the CPU now, whose losses the page compares with its own.
    pub checked_steps: usize,
    pub cases: SiteCases,
}

impl Default for SiteOptions {
    /// All data, 30 checked updates and the cases that cover the sweep's shaders.
    fn default() -> Self {
        SiteOptions {
            train: None,
            evaluated: None,
            checked_steps: 30,
            cases: SiteCases::default(),
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
const MODULES: [(&str, &str); 11] = modules![
    "page.js",
    "drawing.js",
    "sampling.js",
    "trial.js",
    "chart.js",
    "dom.js",
    "check.js",
    "player.js",
    "device.js",
    "files.js",
    "random.js",
];

/// The page, and what is recorded for it.
const PAGE: &str = "index.html";
const RECORDED: [&str; 4] = ["program.json", "data.bin", "cases.bin", "values.bin"];

/// Returns the names of the files of a site, in the order of [`site`].
pub fn file_names() -> impl Iterator<Item = &'static str> {
    let modules = MODULES.into_iter().map(|(name, _)| name);
    std::iter::once(PAGE).chain(modules).chain(RECORDED)
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
/// [`Error::Usage`] for a recipe that the page cannot play, with the field; those of
/// [`Trainer::load`].
pub fn site(recipe: &Recipe, data: &Splits, options: &SiteOptions) -> Result<Vec<SiteFile>> {
    check_recipe(recipe)?;
    let data = first_sequences(data, options)?;
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
    let trial = trial::Trial::new(&trainer, &data, &mut shaders, &mut blob)?;
    let model = model::ModelText::new(&mut trainer)?;
    let run = run::RunText::new(&mut trainer, recipe, &mut blob, options.checked_steps)?;
    let cases = cases::Cases::record(options.cases)?;
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
        cases: cases.count,
    };
    let json = serde_json::to_vec(&description)
        .map_err(|error| Error::usage(format!("the program is not valid JSON: {error}")))?;
    let modules = MODULES.map(|(_, text)| text.as_bytes().to_vec());
    let recorded = [json, blob.into_bytes(), cases.description, cases.values];
    let contents = std::iter::once(page().into_bytes())
        .chain(modules)
        .chain(recorded);
    let files = file_names().zip(contents);
    Ok(files
        .map(|(name, bytes)| SiteFile { name, bytes })
        .collect())
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
        let names: Vec<_> = file_names().collect();
        for (module, text) in MODULES {
            let imports = text.split("'./").skip(1);
            for name in imports.map(|import| import.split('\'').next().unwrap_or_default()) {
                assert!(names.contains(&name), "{module} imports {name}");
            }
        }
    }

    #[test]
    fn the_page_has_its_style_sheet() {
        let page = page();
        assert!(page.contains("--page: #ffffff") && !page.contains("/* style */"));
    }
}
