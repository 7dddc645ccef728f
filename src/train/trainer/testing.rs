//! The test of a finished model, and metrics that need no second pass over a split.

use std::ops::ControlFlow;

use ndarray::ArrayView2;

use super::{SplitScores, Trainer};
use crate::data::Split;
use crate::error::Result;
use crate::kernels::Tally;
use crate::metrics::{ClassCounts, ListMetrics, bits, perplexity};
use crate::network::Loss;
use crate::train::errors::RecordedErrors;
use crate::train::evaluation::each_output;
use crate::train::events::{Observer, TestMetrics, TestSplitName};
use crate::train::heads::HeadMetrics;
use crate::train::list_collector::ListCollector;
use crate::train::scores::{Scores, SplitMetrics};

/// The lists of labels that a head predicts, after its index.
pub(super) type HeadLists = (usize, ListCollector);

/// The errors of a split, with their sums where the host has added them.
type GatheredErrors<'a> = (&'a RecordedErrors, Option<[f64; 3]>);

impl Trainer {
    /// Scores the model of [`Trainer::model`] on the test split, where a validation split has
    /// chosen it. Call it once, at the end of a run. `None` without a test or a validation split,
    /// before the first epoch is over, and where `observe` breaks.
    ///
    /// # Errors
    /// Those of the device and of `observe`.
    pub fn test(&mut self, observe: &mut Observer) -> Result<Option<TestMetrics>> {
        let kept = self.best().or(self.position.last.as_ref());
        let Some(epoch) = kept.map(|epoch| epoch.epoch) else {
            return Ok(None);
        };
        if self.validation.is_none() {
            return Ok(None);
        }
        let shown = match self.best.clone() {
            Some(best) => best,
            None => self.model_parameters()?,
        };
        self.show(&shown)?;
        let tested = self.test_current(epoch, observe);
        self.show_trained()?;
        tested
    }

    /// Scores the current parameters on the test split.
    fn test_current(
        &mut self,
        epoch: usize,
        observe: &mut Observer,
    ) -> Result<Option<TestMetrics>> {
        let ControlFlow::Continue(Some(SplitScores {
            scores,
            metrics,
            heads,
        })) = self.evaluate_split(Split::Test, observe)?
        else {
            return Ok(None);
        };
        Ok(Some(TestMetrics {
            split: TestSplitName::Test,
            epoch,
            test_loss: scores.loss,
            test_accuracy: scores.accuracy,
            test_last_step_loss: scores.last_step_loss,
            test_bits: self.is_text().then(|| bits(scores.loss)),
            test_metrics: metrics,
            heads: HeadMetrics::of(&self.network.network, [&[], &[], &heads]),
        }))
    }

    pub(super) fn is_text(&self) -> bool {
        self.splits.preparation.vocabulary.is_some()
    }

    /// A collector of lists of labels for each head that predicts such.
    pub(super) fn list_collectors(&self) -> Vec<HeadLists> {
        let heads = self.network.network.each_head().into_iter().enumerate();
        let heads = heads.filter(|(_, head)| head.loss.takes_lists());
        heads
            .map(|(index, _)| (index, ListCollector::default()))
            .collect()
    }

    /// Adds the outputs of the last step of an evaluation.
    pub(super) fn collect_lists(&mut self, split: Split, lists: &mut [HeadLists]) -> Result<()> {
        if lists.is_empty() {
            return Ok(());
        }
        let runner = self.runner(split)?;
        let (feed, data) = (runner.feed.clone(), runner.data);
        let order = feed.own_order(data);
        let at = (feed.done() - 1, feed.chunks());
        let data = match split {
            Split::Validation => self.splits.validation.as_deref(),
            Split::Train | Split::Test => self.splits.test.as_deref(),
        };
        let (Some(data), heads) = (data, self.network.network.each_head()) else {
            return Ok(());
        };
        for (index, lists) in lists {
            let outputs = self.network.each_head()[*index].outputs;
            let outputs = self.executor.read(&outputs)?;
            let (outputs, targets) = (&outputs[..], &data.targets.each_head()[*index]);
            let outputs = (outputs, heads[*index].size);
            each_output(&self.network, outputs, data, &order, at, |n_t, outputs| {
                lists.add((data, targets), n_t, outputs.iter().copied());
            });
        }
        Ok(())
    }

    /// Sets the counts of an evaluation to zero.
    pub(super) fn clear_counts(
        &mut self,
        tally: Option<&Tally>,
        errors: Option<&RecordedErrors>,
    ) -> Result<()> {
        if let Some(errors) = errors {
            errors.clear(self.executor.as_mut())?;
        }
        for counts in tally
            .iter()
            .flat_map(|tally| [tally.confusion, tally.ranks])
        {
            self.executor.write_index(&counts, &vec![0; counts.len()])?;
        }
        Ok(())
    }

    /// The metrics of a split with these scores, counts and lists.
    pub(super) fn split_metrics(
        &mut self,
        scores: &Scores,
        (tally, errors, lists): (Option<&Tally>, Option<GatheredErrors>, Option<ListMetrics>),
    ) -> Result<Option<SplitMetrics>> {
        let mut metrics = SplitMetrics::of_lists(lists);
        if let Some(Tally {
            confusion, classes, ..
        }) = tally
        {
            let mut counts = self.executor.read_index(confusion)?;
            self.gathered_counts(&mut counts)?;
            if let Ok(confusion) = ArrayView2::from_shape([*classes; 2], &counts) {
                let counts = ClassCounts::of(confusion);
                metrics.balanced_accuracy = counts.balanced_accuracy();
                metrics.macro_f1 = counts.macro_mean(ClassCounts::f1);
            }
        }
        let head = &self.network.network.head;
        if head.loss == Loss::MeanSquaredError && head.size == 1 {
            let unit = self.splits.preparation.targets.first();
            let unit = unit.map_or(1.0, |normal| normal.deviation);
            let loss = scores.last_step_loss.unwrap_or(scores.loss);
            metrics.rmse = Some(loss.sqrt() * unit);
        }
        if let Some((errors, sums)) = errors {
            errors.add_metrics(self.executor.as_mut(), sums, &mut metrics)?;
        }
        if self.is_text() {
            metrics.perplexity = Some(perplexity(scores.loss));
            metrics.bits = Some(bits(scores.loss));
        }
        Ok(metrics.non_empty())
    }
}
