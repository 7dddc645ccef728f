//! Training and evaluation: one loop for every device.
//!
//! [`train()`] trains a recipe to its end. A [`Trainer`] does the same and reports every [`Event`]
//! on the way; it can be stopped, saved as a [`Checkpoint`](checkpoint::Checkpoint) and resumed bit
//! for bit. [`evaluate`] measures a saved model on a data set.

pub mod checkpoint;
pub mod checkpoints;
mod checks;
mod checksums;
mod clock;
mod comparison;
mod diagnose;
mod errors;
mod evaluation;
mod events;
pub(crate) mod feed;
mod fine_tuning;
mod heads;
mod list_collector;
pub(crate) mod output_metrics;
mod page_state;
mod position;
mod range_test;
mod recording;
mod scores;
mod trainer;
mod weights;

pub use checksums::{DataChecksums, SplitChecksums};
pub use comparison::{BaselineComparison, MajorityBaseline};
pub use diagnose::{Diagnosis, Finding, NotFiniteValues};
pub use evaluation::{Evaluation, EvaluationData, evaluate, evaluate_beside, evaluate_on};
pub use events::{
    Ending, EpochMetrics, Event, LossReport, Observer, Progress, TestMetrics, TestSplitName,
};
pub use fine_tuning::FineTuning;
pub use heads::{HeadEvaluation, HeadMetrics, HeadScores, heads_text};
pub use page_state::PageState;
pub use position::Position;
pub use range_test::{RangeFinding, RangePoint, RangeTest, rate_text};
pub use scores::{Scores, SplitMetrics, loss_text};
pub(crate) use trainer::UpdateTime;
pub use trainer::{IntervalAdjustment, Trainer};
#[cfg(feature = "report")]
pub(crate) use trainer::{PlayedRun, PlayedSplit};

use std::ops::ControlFlow;

use crate::backend::device::Device;
use crate::data::Splits;
use crate::error::Result;
use crate::model::Model;
use crate::recipe::Recipe;

/// Trains to the end of the recipe and returns the model. [`Trainer`] also reports the progress.
///
/// # Errors
/// Those of [`Trainer::new`] and [`Trainer::run`].
pub fn train(recipe: &Recipe, data: &Splits, device: &Device) -> Result<Model> {
    let mut trainer = Trainer::new(recipe, data, device)?;
    trainer.run(&mut |_, _| Ok(ControlFlow::Continue(())))?;
    trainer.model()
}
