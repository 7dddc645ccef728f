//! A case, played on a device and on the reference.

use std::collections::BTreeMap;
use std::path::Path;

use super::report::{Location, Outcome, Row, TRAINING};
use super::tracked::Tracked;
use super::{BufferContents, Scene, dump};
use crate::backend::OpenDevice;
use crate::backend::cpu::Cpu;
use crate::backend::executor::Executor;
use crate::error::Result;
use crate::kernels::{Access, Call};
use crate::program::{Phase, Program};
use crate::tensor::Element;

/// A case's program, loaded on the device and on the reference.
pub(super) struct CaseRun<'a> {
    case: &'a str,
    device: Box<dyn Executor>,
    reference: Cpu<Tracked>,
    program: Program,
    /// The contents of the buffers before the next call, equal on both.
    contents: Vec<BufferContents>,
    rows: BTreeMap<&'static str, Row>,
    dump: Option<&'a Path>,
}

impl<'a> CaseRun<'a> {
    /// Loads the program on both and fills its buffers.
    ///
    /// # Errors
    /// Those of the device.
    pub(super) fn load(
        case: &'a str,
        scene: Scene,
        device: &OpenDevice,
        dump: Option<&'a Path>,
    ) -> Result<Self> {
        let Scene {
            program,
            contents,
            unwritten,
        } = scene;
        let mut run = CaseRun {
            case,
            device: device.load(&program)?,
            reference: Cpu::new(program.clone())?,
            program,
            contents: vec![],
            rows: BTreeMap::new(),
            dump,
        };
        for (buffer, contents) in contents.iter().enumerate() {
            run.restore(buffer, contents)?;
        }
        for tensor in &unwritten {
            run.device.poison(tensor);
        }
        run.contents = contents;
        Ok(run)
    }

    /// Plays every call of every phase, and compares after each.
    ///
    /// # Errors
    /// Those of the device; a file of the dump that cannot be written.
    pub(super) fn play_calls(&mut self) -> Result<()> {
        for phase in Phase::ALL {
            for index in 0..self.program.calls(phase).len() {
                let call = self.program.calls(phase)[index].clone();
                self.reference.time_call(phase, index)?;
                self.device.time_call(phase, index)?;
                let name = format!("{} {index}", phase.name());
                self.compare_call(&call, &name)?;
            }
        }
        for row in self.rows.values_mut() {
            row.cases = 1;
        }
        Ok(())
    }

    /// Plays `steps` training steps, then an evaluation, and compares all buffers once.
    ///
    /// # Errors
    /// Those of the device.
    pub(super) fn play_training(&mut self, steps: usize) -> Result<()> {
        self.reference.run(&Phase::TRAIN, steps)?;
        self.device.run(&Phase::TRAIN, steps)?;
        // Either is played alone after the last update by some caller, so neither may depend on the
        // other: single calls are compared in the opposite order.
        let evaluation = [Phase::Validate, Phase::Evaluate];
        self.reference.run(&evaluation, 1)?;
        self.device.run(&evaluation, 1)?;
        let mut row = Row {
            cases: 1,
            calls: steps,
            ..Row::default()
        };
        let call = format!("all of {steps} steps");
        for buffer in 0..self.contents.len() {
            let outcome = self.outcome(buffer)?;
            let location = Location {
                kernel: TRAINING,
                case: self.case,
                call: &call,
                argument: &self.program.buffers()[buffer].name,
            };
            row.compare(&outcome, location);
        }
        self.rows.insert(TRAINING, row);
        Ok(())
    }

    /// Returns the results by kernel.
    pub(super) fn into_rows(self) -> BTreeMap<&'static str, Row> {
        self.rows
    }

    /// Compares all buffers that a call may have written, and gives both the reference's values.
    fn compare_call(&mut self, call: &Call, name: &str) -> Result<()> {
        let kernel = call.kernel().name();
        let args = call.kernel().args();
        let mut row = Row {
            calls: 1,
            ..Row::default()
        };
        let mut outcomes = vec![];
        for arg in args.iter().filter(|arg| arg.access == Access::Write) {
            let outcome = self.outcome(arg.tensor.buffer.index())?;
            let location = Location {
                kernel,
                case: self.case,
                call: name,
                argument: arg.name,
            };
            row.compare(&outcome, location);
            outcomes.push((arg, outcome));
        }
        if let Some(dump) = self.dump.filter(|_| row.failure().is_some()) {
            let directory = format!("{} {name} {kernel}", self.case).replace(' ', "-");
            dump::save_call(&dump.join(directory), &args, &self.contents, &outcomes)?;
        }
        self.rows.entry(kernel).or_default().add(row);
        for (arg, outcome) in outcomes {
            let buffer = arg.tensor.buffer.index();
            let contents = outcome.rounded();
            self.restore(buffer, &contents)?;
            self.contents[buffer] = contents;
        }
        Ok(())
    }

    /// Reads a buffer from both.
    fn outcome(&mut self, buffer: usize) -> Result<Outcome> {
        let whole = self.program.whole(buffer);
        Ok(match self.program.buffers()[buffer].element {
            Element::Real => Outcome::Real {
                expected: self.reference.read_exact(&whole),
                found: self.device.read(&whole)?,
            },
            Element::Index => Outcome::Index {
                expected: self.reference.read_index(&whole)?,
                found: self.device.read_index(&whole)?,
            },
        })
    }

    /// Writes a buffer on both. Elements that no kernel has written stay so.
    fn restore(&mut self, buffer: usize, contents: &BufferContents) -> Result<()> {
        let whole = self.program.whole(buffer);
        let executors: [&mut dyn Executor; 2] = [&mut self.reference, self.device.as_mut()];
        for executor in executors {
            match contents {
                BufferContents::Real(values) => executor.restore(&whole, values)?,
                BufferContents::Index(values) => executor.restore_index(&whole, values)?,
            }
        }
        Ok(())
    }
}
