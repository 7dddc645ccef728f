//! Programs as JSON: shaders and pipelines, each once, and the calls over numbered buffers.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::kernels::{Access, Call, Kernel, uniform_words};
use crate::program::{Phase, Program};

/// The shaders and pipelines of several programs.
#[derive(Default, Serialize)]
pub(super) struct Shaders {
    /// WGSL.
    sources: Vec<String>,
    pipelines: Vec<PipelineText>,
    #[serde(skip)]
    known_sources: HashMap<String, usize>,
    #[serde(skip)]
    known_pipelines: HashMap<String, usize>,
}

#[derive(Serialize)]
struct PipelineText {
    kernel: &'static str,
    /// Its index in `sources`.
    source: usize,
    /// The values of the shader's override constants.
    constants: BTreeMap<&'static str, f64>,
    /// Whether each storage binding is written.
    writes: Vec<bool>,
}

/// A program.
#[derive(Serialize)]
pub(super) struct ProgramText {
    /// The name of each buffer and its number of words.
    buffers: Vec<(String, usize)>,
    /// The calls of each phase that has any.
    phases: BTreeMap<&'static str, Vec<CallText>>,
}

/// A call: the index of its pipeline, its buffers, its uniform, its grid, its estimated work.
#[derive(Serialize)]
struct CallText(usize, Vec<usize>, Vec<u32>, [u32; 3], f64);

impl Shaders {
    /// Returns a program, whose shaders and pipelines are added to those that are known.
    ///
    /// # Errors
    /// [`Error::Usage`] for a shader with a feature that WebGPU does not guarantee.
    pub(super) fn program(&mut self, program: &Program) -> Result<ProgramText> {
        let buffers = program.buffers().iter();
        let mut phases = BTreeMap::new();
        for phase in Phase::ALL {
            let calls = program.calls(phase).iter().map(|call| self.call(call));
            let calls = calls.collect::<Result<Vec<_>>>()?;
            if !calls.is_empty() {
                phases.insert(phase.name(), calls);
            }
        }
        Ok(ProgramText {
            buffers: buffers.map(|each| (each.name.clone(), each.len)).collect(),
            phases,
        })
    }

    fn call(&mut self, call: &Call) -> Result<CallText> {
        let kernel = call.kernel();
        let args = kernel.args().into_iter();
        Ok(CallText(
            self.pipeline(kernel)?,
            args.map(|arg| arg.tensor.buffer.index()).collect(),
            uniform_words(kernel),
            kernel.grid(),
            kernel.cost().work(),
        ))
    }

    /// Returns the index of a kernel's pipeline.
    fn pipeline(&mut self, kernel: &dyn Kernel) -> Result<usize> {
        let shader = kernel.shader();
        let source = shader.standard_source();
        if source.starts_with("enable") {
            let feature = source.lines().next().unwrap_or_default();
            let kernel = kernel.name();
            return Err(Error::usage(format!(
                "the kernel {kernel} is recorded with `{feature}`, which not every browser has"
            )));
        }
        let source = self.source(source);
        let args = kernel.args().into_iter();
        let text = PipelineText {
            kernel: kernel.name(),
            source,
            constants: shader.constants.into_iter().collect(),
            writes: args.map(|arg| arg.access == Access::Write).collect(),
        };
        let key = format!(
            "{} {source} {:?} {:?}",
            text.kernel, text.constants, text.writes
        );
        let next = self.pipelines.len();
        let index = *self.known_pipelines.entry(key).or_insert(next);
        if index == next {
            self.pipelines.push(text);
        }
        Ok(index)
    }

    fn source(&mut self, source: String) -> usize {
        if let Some(&index) = self.known_sources.get(&source) {
            return index;
        }
        self.sources.push(source.clone());
        self.known_sources.insert(source, self.sources.len() - 1);
        self.sources.len() - 1
    }
}
