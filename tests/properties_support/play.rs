//! A case loaded on an executor.

use gatescan::Cell;
use gatescan::low_level::backend::cpu::Cpu;
use gatescan::low_level::backend::executor::Executor;
use gatescan::low_level::backend::gpu::GpuDevice;
use gatescan::low_level::backend::gpu::executor::Gpu;
use gatescan::low_level::kernels::control;
use gatescan::low_level::program::Phase;
use gatescan::low_level::record::{Gradients, RecordedNetwork};
use gatescan::low_level::tensor::{Element, Kind, Tensor};

use super::case::Case;

/// The device that runs a case.
#[derive(Clone, Copy)]
pub enum OpenDevice<'a> {
    CpuF64,
    CpuF32,
    Gpu(&'a GpuDevice),
}

/// An executor that reads and writes f64, as exactly as it can.
enum Loaded {
    F64(Box<Cpu<f64>>),
    F32(Box<dyn Executor>),
}

/// A recorded case, loaded, with all inputs written.
pub struct Player {
    pub model: RecordedNetwork,
    gradients: Gradients,
    control: Tensor,
    /// With upstream gradients: the tensors whose weighted sum is the value, and their weights.
    weighed: Vec<(Tensor, Vec<f64>)>,
    executor: Loaded,
}

/// Values of tensors by name.
pub type Results = Vec<(String, Vec<f64>)>;

impl Player {
    /// Records dropout masks, forward and backward pass, and an evaluation; loads the program and
    /// writes the case's data.
    pub fn new(case: &Case, gradients: Gradients, place: OpenDevice) -> Player {
        let mut model = case.model(gradients);
        let words = [control::WORDS];
        let control = model
            .program
            .buffer("control", Kind::Control, Element::Index, words);
        model.draw_masks(case.seed, control);
        for phase in [Phase::Forward, Phase::Evaluate] {
            model.forward(phase);
            if gradients != Gradients::OfUpstream {
                model.loss(phase);
            }
        }
        if gradients != Gradients::None {
            model.backward();
        }
        let program = &model.program;
        let executor = match place {
            OpenDevice::CpuF64 => {
                Loaded::F64(Box::new(Cpu::new(program.clone()).expect("it fits")))
            }
            OpenDevice::CpuF32 => {
                Loaded::F32(Box::new(Cpu::<f32>::new(program.clone()).expect("it fits")))
            }
            OpenDevice::Gpu(device) => {
                Loaded::F32(Box::new(Gpu::new(device, program).expect("it loads")))
            }
        };
        let mut player = Player {
            model,
            gradients,
            control,
            weighed: vec![],
            executor,
        };
        for (tensor, values) in case.reals(&player.model) {
            player.put(&tensor, &values);
        }
        if !case.network.input.is_values() {
            let inputs = player.model.inputs;
            player.put_index(&inputs, &case.tokens());
        }
        let (lengths, labels) = (player.model.lengths, player.model.head.labels);
        player.put_index(&lengths, &case.lengths);
        player.put_index(&labels, &case.labels(&player.model));
        if gradients == Gradients::OfUpstream {
            player.weigh(case);
        }
        player
    }

    /// Runs each call of a phase by itself; [`Player::run`] may fuse some.
    pub fn run_one_by_one(&mut self, phase: Phase) {
        for call in 0..self.model.program.calls(phase).len() {
            self.executor().time_call(phase, call).expect("it runs");
        }
    }

    fn executor(&mut self) -> &mut dyn Executor {
        match &mut self.executor {
            Loaded::F64(cpu) => cpu.as_mut(),
            Loaded::F32(executor) => executor.as_mut(),
        }
    }

    pub fn put(&mut self, tensor: &Tensor, values: &[f64]) {
        match &mut self.executor {
            Loaded::F64(cpu) => cpu.write_exact(tensor, values),
            Loaded::F32(executor) => {
                let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
                executor.write(tensor, &values).expect("the sizes agree");
            }
        }
    }

    pub fn put_index(&mut self, tensor: &Tensor, values: &[u32]) {
        let written = self.executor().write_index(tensor, values);
        written.expect("the sizes agree");
    }

    pub fn get(&mut self, tensor: &Tensor) -> Vec<f64> {
        match &mut self.executor {
            Loaded::F64(cpu) => cpu.read_exact(tensor),
            Loaded::F32(executor) => {
                let values = executor.read(tensor).expect("it can be read");
                values.into_iter().map(f64::from).collect()
            }
        }
    }

    pub fn run(&mut self, phases: &[Phase]) {
        self.executor().run(phases, 1).expect("it runs");
    }

    /// Sets the number of past updates: each update has its own dropout masks.
    pub fn set_updates(&mut self, updates: u32) {
        let mut words = [0; control::WORDS];
        words[control::STEP] = updates;
        let control = self.control;
        self.put_index(&control, &words);
    }

    /// Draws random weights for the outputs of the last layer and for all last states, and writes
    /// them as upstream gradients.
    fn weigh(&mut self, case: &Case) {
        let top = self.model.network.layers.len() - 1;
        let emitted = (self.model.emitted(top), self.model.upstream(top));
        let lasts = self.model.recurrences();
        let lasts = lasts.map(|layer| (layer.states.last, Some(layer.gradients.dstate)));
        let pairs: Vec<_> = [emitted].into_iter().chain(lasts).collect();
        let mut random = case.random(2);
        for (tensor, gradient) in pairs {
            let weight = |_| f64::from(random.normal() as f32);
            let weights: Vec<f64> = (0..tensor.len()).map(weight).collect();
            self.put(&gradient.expect("the model is made for it"), &weights);
            self.weighed.push((tensor, weights));
        }
    }

    /// Returns the value that is differentiated, from the last forward pass: the mean loss, or the
    /// weighted sum.
    pub fn value(&mut self) -> f64 {
        if self.gradients == Gradients::OfUpstream {
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let terms = self.weighed.clone();
            let terms = terms
                .iter()
                .map(|(tensor, weights)| dot(&self.get(tensor), weights));
            return terms.sum();
        }
        let (scores, weight) = (self.model.head.scores, self.model.head.label_weight);
        let scores = self.get(&scores);
        scores[..scores.len() / 2].iter().sum::<f64>() * self.get(&weight)[0]
    }

    /// Reads the results of a forward pass or an evaluation.
    pub fn forward_results(&mut self) -> Results {
        let top = self.model.network.layers.len() - 1;
        let mut tensors = vec![("emitted".into(), self.model.emitted(top))];
        let lasts = self.model.recurrences().enumerate();
        tensors.extend(lasts.map(|(l, layer)| (format!("last {l}"), layer.states.last)));
        if self.gradients != Gradients::OfUpstream {
            tensors.push(("outputs".into(), self.model.head.outputs));
        }
        self.get_all(tensors)
    }

    /// Reads the results of a backward pass.
    pub fn gradients(&mut self) -> Results {
        let model = &self.model;
        let entries = model.entries.iter().filter_map(|entry| {
            let gradient = model.gradient(&entry.name)?;
            Some((entry.name.clone(), gradient))
        });
        let mut tensors: Vec<_> = entries.collect();
        tensors.extend(model.dinputs().map(|dinputs| ("inputs".into(), dinputs)));
        if self.gradients == Gradients::OfUpstream {
            let states = model.recurrences().enumerate();
            tensors
                .extend(states.map(|(l, layer)| (format!("states {l}"), layer.gradients.dstate)));
        }
        self.get_all(tensors)
    }

    fn get_all(&mut self, tensors: Vec<(String, Tensor)>) -> Results {
        let get = |(name, tensor)| (name, self.get(&tensor));
        tensors.into_iter().map(get).collect()
    }

    /// Returns on which side of its kink each unit was at each step. Kinks are those of a rectifier
    /// and the limits of clipped c and h.
    pub fn sides(&mut self) -> Vec<bool> {
        let mut sides = vec![];
        let layers: Vec<_> = self.model.recurrences().cloned().collect();
        for layer in layers {
            if layer.cell == Cell::RnnRelu {
                sides.extend(self.get(&layer.states.h).iter().map(|&h| h > 0.0));
            }
            let of_h = layer
                .options
                .projection
                .and_then(|projection| projection.clip);
            for (state, limit) in [
                (layer.states.h, of_h),
                (layer.states.c, layer.options.cell_clip),
            ] {
                if let Some(limit) = limit {
                    sides.extend(self.get(&state).iter().map(|value| value.abs() >= limit));
                }
            }
        }
        sides
    }
}
