//! A recorded run on the CPU executor, for browsers without a GPU: the player in `site/` plays it
//! as it plays the run on a GPU, by buffers, phases and words.

use super::RecordedRun;
use crate::backend::cpu::Cpu;
use crate::backend::executor::Executor;
use crate::error::{Error, Result};
use crate::program::{Phase, Program};
use crate::tensor::{Element, Tensor};

/// The programs of a recorded run on the CPU, in f32. Program 0 is a training step; program 1, if
/// any, is a trial. Tensors are passed as words of 32 bits, real values by their bits.
pub struct CpuPlayer {
    programs: Vec<LoadedProgram>,
}

struct LoadedProgram {
    program: Program,
    cpu: Cpu<f32>,
}

/// A tensor of a program of a [`CpuPlayer`]: buffer, offset and length in words.
pub type PlayedTensor = (usize, usize, usize);

impl CpuPlayer {
    /// Loads the programs of a run; all words are 0.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if the machine lacks the memory; [`Error::Usage`] for a precision
    /// that the processor lacks.
    pub fn new(run: &RecordedRun) -> Result<CpuPlayer> {
        let programs = run.programs.iter().map(|program| {
            Ok(LoadedProgram {
                program: program.clone(),
                cpu: Cpu::new(program.clone())?,
            })
        });
        Ok(CpuPlayer {
            programs: programs.collect::<Result<_>>()?,
        })
    }

    /// Writes the words of a tensor.
    ///
    /// # Errors
    /// [`Error::Usage`] for a tensor that the program does not have, and another number of words.
    pub fn write(&mut self, program: usize, tensor: PlayedTensor, words: &[u32]) -> Result<()> {
        let loaded = self.program(program)?;
        let (tensor, element) = loaded.tensor(tensor)?;
        match element {
            Element::Index => loaded.cpu.write_index(&tensor, words),
            Element::Real => {
                let values: Vec<f32> = words.iter().copied().map(f32::from_bits).collect();
                loaded.cpu.write(&tensor, &values)
            }
        }
    }

    /// Returns the words of a tensor.
    ///
    /// # Errors
    /// [`Error::Usage`] for a tensor that the program does not have.
    pub fn read(&mut self, program: usize, tensor: PlayedTensor) -> Result<Vec<u32>> {
        let loaded = self.program(program)?;
        let (tensor, element) = loaded.tensor(tensor)?;
        match element {
            Element::Index => loaded.cpu.read_index(&tensor),
            Element::Real => {
                let values = loaded.cpu.read(&tensor)?;
                Ok(values.into_iter().map(f32::to_bits).collect())
            }
        }
    }

    /// Runs phases in order, and the whole list `times` times.
    ///
    /// # Errors
    /// [`Error::Usage`] for a name that is none of a phase.
    pub fn run(&mut self, program: usize, phases: &[String], times: usize) -> Result<()> {
        let phases = phases.iter().map(|name| phase(name));
        let phases = phases.collect::<Result<Vec<_>>>()?;
        self.program(program)?.cpu.run(&phases, times)
    }

    fn program(&mut self, program: usize) -> Result<&mut LoadedProgram> {
        let count = self.programs.len();
        self.programs.get_mut(program).ok_or_else(|| {
            Error::usage(format!(
                "program {program} is none of the run, which has {count}"
            ))
        })
    }
}

impl LoadedProgram {
    /// The tensor with its elements; refuses one that is not inside its buffer.
    fn tensor(&self, (buffer, offset, len): PlayedTensor) -> Result<(Tensor, Element)> {
        let found = self.program.buffers().get(buffer);
        let end = offset.checked_add(len);
        match found.filter(|found| end.is_some_and(|end| end <= found.len)) {
            Some(found) => Ok((
                self.program.whole(buffer).part(offset, [len]),
                found.element,
            )),
            None => Err(Error::usage(format!(
                "the program has no {len} words at {offset} of buffer {buffer}"
            ))),
        }
    }
}

/// The phase of that name.
fn phase(name: &str) -> Result<Phase> {
    let mut phases = Phase::ALL.into_iter();
    let found = phases.find(|phase| phase.name() == name);
    found.ok_or_else(|| Error::usage(format!("there is no phase `{name}`")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;
    use crate::web::{SiteOptions, record};

    fn series() -> RecordedRun {
        let mut recipe = Recipe::load("series").expect("it is built in");
        recipe.network.set_hidden_size(3);
        recipe.epochs = 1;
        let data = recipe.data.source().made_up(300, recipe.seed);
        let data = data.expect("they are made up");
        let options = SiteOptions {
            checked_steps: 0,
            ..SiteOptions::default()
        };
        record(&recipe, &data, &options).expect("it is recorded")
    }

    #[test]
    fn words_are_read_as_they_were_written() {
        let mut player = CpuPlayer::new(&series()).expect("it fits");
        for (buffer, found) in player.programs[0]
            .program
            .buffers()
            .to_vec()
            .iter()
            .enumerate()
        {
            let words: Vec<u32> = (0..found.len as u32)
                .map(|n| n.wrapping_mul(0x9e37) & 0x7f7f_ffff)
                .collect();
            let tensor = (buffer, 0, found.len);
            player.write(0, tensor, &words).expect("it fits");
            assert_eq!(player.read(0, tensor).expect("it is there"), words);
        }
        let mut player = CpuPlayer::new(&series()).expect("it fits");
        player.run(0, &["update".into()], 2).expect("it runs");
    }

    #[test]
    fn what_a_program_does_not_have_is_refused() {
        let mut player = CpuPlayer::new(&series()).expect("it fits");
        let len = player.programs[0].program.buffers()[0].len;
        for tensor in [(0, 1, len), (usize::MAX, 0, 1), (0, usize::MAX, 2)] {
            assert!(player.read(0, tensor).is_err(), "{tensor:?}");
            assert!(player.write(0, tensor, &[0]).is_err(), "{tensor:?}");
        }
        assert!(player.write(0, (0, 0, 1), &[0, 0]).is_err());
        assert!(player.read(7, (0, 0, 1)).is_err());
        assert!(player.run(0, &["forwards".into()], 1).is_err());
    }
}
