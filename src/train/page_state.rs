//! The state that a page of `gatescan web` saves: a run between two updates, which a trainer
//! continues.

use std::path::Path;

use serde::Deserialize;

use super::checkpoint::Checkpoint;
use super::checksums::{DataChecksums, SplitChecksums};
use super::events::EpochMetrics;
use super::position::{Position, Totals};
use crate::data::Split;
use crate::error::{Error, Result};
use crate::io::files;
use crate::metrics::bits;
use crate::model::file::{
    LARGEST_FILE, PAGE_KEY, describe, may_be_safetensors, parse_json, parse_tensors,
};
use crate::network::Parameter;
use crate::recipe::Recipe;

/// The newest version of the description that is read.
const PAGE_VERSION: u32 = 1;

/// The largest file of a state, in bytes: a page has at most 1 GiB of buffers.
const LARGEST_STATE: u64 = LARGEST_FILE;

/// The state that a page has saved.
#[derive(Debug, Clone)]
pub struct PageState {
    /// The recipe of the page.
    pub recipe: Recipe,
    description: PageDescription,
    tensors: Vec<Parameter>,
}

/// The metadata of the file, as `player.js` writes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageDescription {
    /// The recipe, as TOML.
    toml: String,
    /// The checksums of the page's data.
    data: SplitChecksums,
    /// Whether the page has the first sequences of a split only.
    is_part: bool,
    position: PagePosition,
}

/// The position of the player; see [`Position`].
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PagePosition {
    step: usize,
    epochs: usize,
    /// The totals of the epoch in progress, then those of each of several heads; none at its
    /// beginning.
    totals: Vec<PageTotals>,
    best: Option<PageBest>,
    history: Vec<PageEpoch>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageTotals {
    loss: f64,
    hits: f64,
    labelled: f64,
    last_loss: f64,
    last_labelled: f64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct PageBest {
    epoch: usize,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct PageEpoch {
    epoch: usize,
    step: usize,
    train: PageScores,
    evaluated: Option<PageScores>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct PageScores {
    loss: f64,
    accuracy: Option<f64>,
}

impl PageState {
    const LOSSES: &str = "losses";

    /// Reads a state.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be read, is damaged, or is none of a page.
    pub fn load(path: &Path) -> Result<PageState> {
        let bytes = files::read_plausible(path, LARGEST_STATE, may_be_safetensors);
        let bytes = bytes
            .map_err(|error| Error::file(path, format!("the state cannot be read: {error}")))?;
        PageState::from_bytes(&bytes).map_err(|problem| Error::file(path, problem))
    }

    /// Reads a state from the bytes of its file.
    ///
    /// # Errors
    /// A message without the file's name, which the caller knows.
    pub fn from_bytes(bytes: &[u8]) -> Result<PageState, String> {
        let (json, _) = parse_json(bytes, PAGE_KEY, PAGE_VERSION)?;
        let description: PageDescription = describe(json, PAGE_KEY)?;
        let damaged = |error: Error| format!("its recipe is damaged: {error}");
        let recipe = Recipe::parse(&description.toml, "the recipe").map_err(damaged)?;
        recipe.validate().map_err(damaged)?;
        let state = PageState {
            recipe,
            tensors: parse_tensors(bytes)?,
            description,
        };
        state.check_position()?;
        Ok(state)
    }

    /// Updates so far.
    pub fn step(&self) -> usize {
        self.description.position.step
    }

    /// Refuses a position that contradicts itself.
    fn check_position(&self) -> Result<(), String> {
        let PagePosition {
            step,
            epochs,
            best,
            history,
            ..
        } = &self.description.position;
        let is_whole = history.len() == *epochs
            && (1..)
                .zip(history)
                .all(|(n, each)| each.epoch == n && each.step <= *step)
            && best.is_none_or(|best| (1..=*epochs).contains(&best.epoch))
            && best.is_some() == (*epochs > 0)
            && self
                .values(Self::LOSSES)
                .is_some_and(|losses| losses.len() == *step);
        if is_whole {
            return Ok(());
        }
        Err(format!(
            "damaged: its position of {step} updates in {epochs} epochs contradicts its losses and \
             epochs"
        ))
    }

    fn values(&self, name: &str) -> Option<&[f32]> {
        let tensor = self.tensors.iter().find(|tensor| tensor.name == name);
        tensor.map(|tensor| tensor.values.as_slice())
    }

    /// The checkpoint of the state for the trainer that `start`, its first one, is of; `monitored`
    /// is the split that the page has evaluated.
    ///
    /// # Errors
    /// [`Error::Usage`] for a state of a part of the data, and where a tensor is missing.
    pub(super) fn checkpoint(&self, start: Checkpoint, monitored: Split) -> Result<Checkpoint> {
        if self.description.is_part {
            return Err(Error::usage(
                "the page that saved this state trains on the first sequences of its data only, and \
                 a recipe has all of them; continue it in the page, or begin a run with the page's \
                 model",
            ));
        }
        let found = |name: String| {
            let values = self.values(&name).map(<[f32]>::to_vec);
            values.ok_or_else(|| {
                Error::usage(format!(
                    "the state has no tensor `{name}`, which the recipe's network or optimizer \
                     needs: it is damaged"
                ))
            })
        };
        let moments = start.moments.iter().map(|(name, _)| {
            let values = found(format!("{}{name}", Checkpoint::MOMENT))?;
            Ok((name.clone(), values))
        });
        let moments = moments.collect::<Result<_>>()?;
        let states = (0..).map_while(|n| self.values(&format!("{}{n}", Checkpoint::STATE)));
        Ok(Checkpoint {
            recipe: self.recipe.clone(),
            position: self.position(monitored, start.preparation.vocabulary.is_some()),
            data: DataChecksums::Splits(self.description.data),
            parameters: found(Checkpoint::PARAMETERS.into())?,
            moments,
            states: states.map(<[f32]>::to_vec).collect(),
            best: self.values(Checkpoint::BEST).map(<[f32]>::to_vec),
            ..start
        })
    }

    /// The metrics of the epochs so far, for a run whose page has evaluated the split `monitored`.
    pub(super) fn epochs(&self, monitored: Split, is_text: bool) -> Vec<EpochMetrics> {
        let history = self.description.position.history.iter();
        let metrics = history.map(|epoch| epoch.metrics(monitored, is_text));
        metrics.collect()
    }

    fn position(&self, monitored: Split, is_text: bool) -> Position {
        let page = &self.description.position;
        let epochs = self.epochs(monitored, is_text);
        // The file was refused where there is no such epoch.
        let best = page.best.map(|best| best.epoch - 1);
        let mut totals = page.totals.iter().map(PageTotals::totals);
        let all = totals.next().unwrap_or_default();
        let losses = self.values(Self::LOSSES).unwrap_or_default();
        let reported = self
            .recipe
            .report_every
            .map_or(page.step, |every| page.step / every.max(1) * every.max(1));
        Position {
            step: page.step,
            epochs: page.epochs,
            best: best.map(|best| epochs[best].clone()),
            best_step: best.map(|best| page.history[best].step),
            last: epochs.last().cloned(),
            totals: all.with_heads(totals.collect()),
            unreported: losses[reported..].iter().copied().map(f64::from).sum(),
            ..Position::default()
        }
    }
}

impl PageTotals {
    fn totals(&self) -> Totals {
        Totals::of_sums(
            [self.loss, self.hits, self.labelled],
            [self.last_loss, self.last_labelled],
        )
    }
}

impl PageEpoch {
    fn metrics(&self, monitored: Split, is_text: bool) -> EpochMetrics {
        let on = |split| self.evaluated.filter(|_| monitored == split);
        let (test, validation) = (on(Split::Test), on(Split::Validation));
        let loss = |scores: PageScores| scores.loss;
        let accuracy = |scores: PageScores| scores.accuracy;
        EpochMetrics {
            epoch: self.epoch,
            train_loss: self.train.loss,
            train_accuracy: self.train.accuracy,
            train_last_step_loss: None,
            test_loss: test.map(loss),
            test_accuracy: test.and_then(accuracy),
            test_last_step_loss: None,
            validation_loss: validation.map(loss),
            validation_accuracy: validation.and_then(accuracy),
            validation_last_step_loss: None,
            test_bits: test.filter(|_| is_text).map(|scores| bits(scores.loss)),
            validation_metrics: None,
            test_metrics: None,
            heads: vec![],
            sequences_per_second: 0.0,
            seconds: 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use safetensors::Dtype;
    use serde_json::{Value, json};

    use super::*;
    use crate::backend::device::Device;
    use crate::data::Splits;
    use crate::model::file::{StoredTensor, serialize, to_le_bytes};
    use crate::train::{Event, Trainer};

    fn recipe() -> Recipe {
        let mut recipe = Recipe::load("series").expect("it is built in");
        recipe.network.set_hidden_size(3);
        let fields = [
            "epochs=3",
            "keep_best=true",
            "ema=0.9",
            "report_every=4",
            "batch_size=16",
            // A run that stops, stops there.
            "checkpoint.every_steps=3",
        ];
        recipe
            .set(&fields.map(String::from))
            .expect("they are fields");
        recipe
    }

    fn data(recipe: &Recipe) -> Splits {
        let data = recipe.data.source().made_up(100, recipe.seed);
        data.expect("they are made up")
    }

    /// A trainer after `steps` updates with their losses, and the state that a page would save.
    fn trained(recipe: &Recipe, steps: usize) -> (Trainer, Vec<f32>) {
        let mut trainer = Trainer::new(recipe, &data(recipe), &Device::Cpu).expect("it loads");
        let mut losses = vec![];
        let ran = trainer.run(&mut |trainer, event| {
            if let Event::Progress(progress) = event {
                losses.extend(&progress.step_losses);
            }
            let is_over = trainer.position().step >= steps;
            Ok(if is_over {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            })
        });
        ran.expect("it trains");
        (trainer, losses)
    }

    /// The state as `player.js` writes it.
    fn saved(trainer: &mut Trainer, losses: &[f32]) -> (Value, Vec<StoredTensor>) {
        let checkpoint = trainer.checkpoint().expect("it has one");
        let DataChecksums::Splits(data) = checkpoint.data else {
            panic!("the splits have checksums");
        };
        let position = serde_json::to_value(&checkpoint.position).expect("it is JSON");
        let totals = &position["totals"];
        let epoch = |epoch: &Value| {
            let test = epoch["validation_loss"]
                .as_f64()
                .or(epoch["test_loss"].as_f64());
            json!({
                "epoch": epoch["epoch"], "step": checkpoint.position.best_step,
                "train": { "loss": epoch["train_loss"], "accuracy": null },
                "evaluated": test.map(|loss| json!({ "loss": loss, "accuracy": null })),
            })
        };
        let description = json!({
            "version": 1, "fingerprint": "1", "data": data, "isPart": false,
            "toml": checkpoint.recipe.to_toml().expect("it is TOML"),
            "position": {
                "step": checkpoint.position.step, "epochs": checkpoint.position.epochs,
                "totals": [{
                    "loss": totals["loss"], "hits": totals["hits"],
                    "labelled": totals["labelled"], "lastLoss": totals["last_loss"],
                    "lastLabelled": totals["last_labelled"],
                }],
                "best": position["best"]["epoch"].as_u64().map(|epoch| json!({ "epoch": epoch })),
                "history": position["best"].is_object().then(|| epoch(&position["best"])).as_slice(),
            },
        });
        let mut tensors: Vec<(String, Vec<f32>)> = vec![
            ("parameters".into(), checkpoint.parameters),
            ("losses".into(), losses.to_vec()),
        ];
        tensors.extend(checkpoint.best.map(|best| ("best.parameters".into(), best)));
        let moments = checkpoint.moments.into_iter();
        tensors.extend(moments.map(|(name, values)| (format!("moment.{name}"), values)));
        let stored = tensors.into_iter().map(|(name, values)| StoredTensor {
            name,
            dtype: Dtype::F32,
            shape: vec![values.len()],
            bytes: to_le_bytes(&values),
        });
        (description, stored.collect())
    }

    #[test]
    fn a_state_continues_bit_for_bit() {
        let recipe = recipe();
        // In the second epoch, after the first evaluation.
        let (mut page, losses) = trained(&recipe, 8);
        assert_eq!(page.position().epochs, 1);
        let (description, tensors) = saved(&mut page, &losses);
        let bytes = serialize(PAGE_KEY, &description, &tensors).expect("it is written");
        let state = PageState::from_bytes(&bytes).expect("it is read");
        assert_eq!(state.step(), page.position().step);
        let mut resumed = Trainer::new(&recipe, &data(&recipe), &Device::Cpu).expect("it loads");
        resumed.restore_page(&state).expect("it continues");
        let go_on = |trainer: &mut Trainer| {
            let mut reports = vec![];
            trainer
                .run(&mut |_, event| {
                    if let Event::Progress(progress) = event {
                        reports.extend(progress.reports.iter().map(|report| report.loss));
                    }
                    Ok(ControlFlow::Continue(()))
                })
                .expect("it trains");
            let checkpoint = trainer.checkpoint().expect("it has one");
            let last = checkpoint.position.last.map(|last| last.train_loss);
            (
                checkpoint.parameters,
                checkpoint.moments,
                checkpoint.best,
                last,
                reports,
            )
        };
        assert_eq!(go_on(&mut resumed), go_on(&mut page));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let recipe = recipe();
        let (mut page, losses) = trained(&recipe, 8);
        let refused = |change: &dyn Fn(&mut Value), without: &str| {
            let mut page = Trainer::new(&recipe, &data(&recipe), &Device::Cpu).expect("it loads");
            let (mut description, mut tensors) = saved(&mut trained(&recipe, 8).0, &losses);
            change(&mut description);
            tensors.retain(|tensor| tensor.name != without);
            let bytes = serialize(PAGE_KEY, &description, &tensors).expect("it is written");
            let state = PageState::from_bytes(&bytes);
            let restored = state
                .and_then(|state| page.restore_page(&state).map_err(|error| error.to_string()));
            restored.expect_err("it is refused")
        };
        let part = refused(&|state| state["isPart"] = json!(true), "");
        assert!(part.contains("first sequences"), "{part}");
        let other = refused(&|state| state["data"]["train"] = json!(7), "");
        assert!(other.contains("training data are not those"), "{other}");
        let newer = refused(&|state| state["version"] = json!(2), "");
        assert!(newer.contains("newer gatescan"), "{newer}");
        let moment = refused(&|_| (), "moment.average");
        assert!(moment.contains("`moment.average`"), "{moment}");
        for change in ["step", "epochs"] {
            let position = refused(&|state| state["position"][change] = json!(900), "");
            assert!(position.contains("contradicts"), "{position}");
        }
        let losses = refused(&|_| (), "losses");
        assert!(losses.contains("contradicts"), "{losses}");
        let model = page.model().expect("it has one").to_bytes().expect("bytes");
        let error = PageState::from_bytes(&model).expect_err("it is none");
        assert!(error.contains("no state of a page"), "{error}");
        assert!(PageState::from_bytes(b"{}").is_err());
    }
}
