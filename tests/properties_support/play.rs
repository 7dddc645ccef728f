//! A case loaded on an executor.

use gatescan::cells::Cell;
use gatescan::low_level::backend::cpu::Cpu;
use gatescan::low_level::backend::executor::Executor;
use gatescan::low_level::backend::gpu::GpuDevice;
use gatescan::low_level::backend::gpu::executor::Gpu;
use gatescan::low_level::kernels::control;
use gatescan::low_level::program::Phase;
use gatescan::low_level::record::{Gradients, RecordedNetwork};
use gatescan::low_level::tensor::{Element, Kind, Tensor};

use super::case::Case;

/// Where cases are played.
#[derive(Clone, Copy)]
pub enum OpenDevice<'a> {
    CpuF64,
    CpuF32,
    Gpu(&'a GpuDevice),
}

/// An executor that takes and gives f64, as exactly as it can.
enum Loaded {
    F64(Cpu<f64>),
    F32(Box<dyn Executor>),
}

/// A case's model, recorded, loaded, and with all that it reads written.
pub struct Player {
    pub model: RecordedNetwork,
    gradients: Gradients,
    control: Tensor,
    /// What the value of a model with gradients from above is made of: tensors and their weights.
    weighed: Vec<(Tensor, Vec<f64>)>,
    executor: Loaded,
}

/// Tensors under their names.
pub type Results = Vec<(String, Vec<f64>)>;

impl Player {
    /// Forward, where masks are drawn first, and backward; and an evaluation.
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
            OpenDevice::CpuF64 => Loaded::F64(Cpu::new(program.clone()).expect("it fits")),
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

    /// Plays a phase's calls each by itself, where [`Player::run`] may take some in one pass.
    pub fn run_one_by_one(&mut self, phase: Phase) {
        for call in 0..self.model.program.calls(phase).len() {
            self.executor().time_call(phase, call).expect("it runs");
        }
    }

    fn executor(&mut self) -> &mut dyn Executor {
        match &mut self.executor {
            Loaded::F64(cpu) => cpu,
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

    /// Says how many updates were made before: masks are drawn anew for each.
    pub fn set_updates(&mut self, updates: u32) {
        let words = [updates, 0, 0, 0, 0];
        let control = self.control;
        self.put_index(&control, &words);
    }

    /// Weighs, for a model with gradients from above, all that its top layer emits and all last
    /// states, at random: the weights are their gradients.
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

    /// What the gradients are of, as the last forward pass left it: the mean loss, or the weighed
    /// sum.
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

    /// What a forward pass or an evaluation left.
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

    /// What a backward pass left.
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

    /// On which side of its kink each unit was at each step: of a rectified one, or where c or h is
    /// clipped.
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
