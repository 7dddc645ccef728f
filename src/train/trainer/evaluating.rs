//! The evaluation of a split between two epochs, by one process or several.

use std::ops::ControlFlow;

use super::testing::HeadLists;
use super::{SplitScores, Trainer};
use crate::data::Split;
use crate::distributed::{Ranks, check_count, from_bytes, sum_counts, to_bytes};
use crate::error::{Error, Result};
use crate::metrics::{ListMetrics, ListSums};
use crate::recipe::Recipe;
use crate::train::errors::RecordedErrors;
use crate::train::evaluation::EvaluationProgress;
use crate::train::events::{Event, Observer};
use crate::train::feed::{Feed, StepRecord, gather_records};
use crate::train::heads::head_scores;
use crate::train::position::Totals;
use crate::train::recording::RecordedSplit;
use crate::train::scores::{Scores, SplitMetrics};

/// The sums of the errors of each batch: see [`RecordedErrors`].
type BatchSums = Vec<[f32; 3]>;

impl Trainer {
    /// Evaluates the test or validation split, if there is one. Breaks where the observer does.
    pub(super) fn evaluate_split(
        &mut self,
        split: Split,
        observe: &mut Observer,
    ) -> Result<ControlFlow<(), Option<SplitScores>>> {
        let recorded = match split {
            Split::Validation => &self.validation,
            Split::Train | Split::Test => &self.test,
        };
        let Some(RecordedSplit {
            feed,
            tally,
            errors,
        }) = recorded
        else {
            return Ok(ControlFlow::Continue(None));
        };
        let (total, tally, errors) = (feed.count(), tally.clone(), errors.clone());
        self.clear_counts(tally.as_ref(), errors.as_ref())?;
        let mut lists = self.list_collectors();
        let mut sums = self.error_collector(errors.as_ref());
        // Lists are decoded from the outputs of each step.
        let most = if !lists.is_empty() || sums.is_some() {
            1
        } else {
            usize::MAX
        };
        let mut evaluation = EvaluationProgress::begin(&mut self.runner(split)?)?;
        let mut records = self.ranks.is_some().then(Vec::new);
        while let Some((sequences, played)) = evaluation.advance(&mut self.runner(split)?, most)? {
            if !played.is_empty() {
                self.collect_lists(split, &mut lists)?;
            }
            if let Some((sums, errors)) = sums.as_mut().zip(errors.as_ref()) {
                sums.push(errors.take(self.executor.as_mut())?);
            }
            if let Some(records) = &mut records {
                records.extend(played);
            }
            let event = Event::Evaluating { sequences, total };
            let flow = observe(self, event)?;
            // Several processes stop after the next update.
            if self.ranks.is_none() && flow.is_break() && sequences < total {
                return Ok(ControlFlow::Break(()));
            }
            self.train.stop().wanted |= flow.is_break();
        }
        let feed = self.runner(split)?.feed.clone();
        let totals = match records {
            Some(records) => self.gathered_totals(&feed, &records)?,
            None => evaluation.totals,
        };
        let sums = self.gathered_sums(&feed, sums)?;
        let lists = self.gathered_lists(&lists)?;
        let scores = Scores {
            loss: totals.loss(),
            accuracy: self.accuracy(&totals),
            last_step_loss: totals.last_step_loss(&self.network.network, &feed),
        };
        let mut heads = head_scores(&self.network, &totals);
        for (index, of_head) in &lists {
            if let Some(head) = heads.get_mut(*index) {
                head.metrics = SplitMetrics::of_lists(*of_head).non_empty();
            }
        }
        let of_all = lists.first().filter(|_| heads.is_empty());
        let of_all = of_all.and_then(|(_, lists)| *lists);
        let evaluated = (tally.as_ref(), errors.as_ref().zip(Some(sums)), of_all);
        let metrics = self.split_metrics(&scores, evaluated)?;
        Ok(ControlFlow::Continue(Some(SplitScores {
            scores,
            metrics,
            heads,
        })))
    }

    /// Whether training stops where an observer returns this: of several processes, all stop after
    /// the same update.
    pub(super) fn stops(&mut self, flow: ControlFlow<()>) -> bool {
        if self.ranks.is_none() {
            return flow.is_break();
        }
        let vote = self.train.stop();
        vote.wanted |= flow.is_break();
        vote.agreed
    }

    /// A list for the sums of each batch's errors, where the batches are shared by processes or may
    /// be: the device adds those of all batches in an order that depends on the number of
    /// processes.
    fn error_collector(&self, errors: Option<&RecordedErrors>) -> Option<BatchSums> {
        let is_divided = self.recipe.parallel.micro_batches > 1;
        (is_divided && errors.is_some()).then(Vec::new)
    }

    /// The totals of the records of all processes.
    fn gathered_totals(&mut self, feed: &Feed, records: &[StepRecord]) -> Result<Totals> {
        let mut totals = Totals::default();
        if let Some(ranks) = self.ranks.clone() {
            let (vote, heads) = (self.train.stop(), feed.head_count());
            let all = gather_records(ranks.as_ref(), vote, (records, heads), &[])?;
            let all: Vec<Vec<StepRecord>> = all.into_iter().map(|(records, _)| records).collect();
            for record in in_turn(&all, feed.chunks()) {
                totals.add(record);
            }
        }
        Ok(totals)
    }

    /// The sums of the errors of all batches of all processes: absolute, squared, and their number;
    /// `None` where the device has added them.
    fn gathered_sums(&self, feed: &Feed, own: Option<BatchSums>) -> Result<Option<[f64; 3]>> {
        let Some(own) = own else {
            return Ok(None);
        };
        let own = own.concat();
        let all = match &self.ranks {
            Some(ranks) => ranks.gather(to_bytes(&own))?,
            None => vec![to_bytes(&own)],
        };
        let triple = |values: &[f32]| [values[0], values[1], values[2]];
        let of_rank = |bytes: &Vec<u8>| -> BatchSums {
            from_bytes(bytes).chunks_exact(3).map(triple).collect()
        };
        let all: Vec<BatchSums> = all.iter().map(of_rank).collect();
        let mut total = [0.0; 3];
        for sums in in_turn(&all, feed.chunks()) {
            for (total, &sum) in total.iter_mut().zip(sums) {
                *total += f64::from(sum);
            }
        }
        Ok(Some(total))
    }

    /// The metrics of the lists of all processes, of each head that predicts lists.
    fn gathered_lists(&self, own: &[HeadLists]) -> Result<Vec<(usize, Option<ListMetrics>)>> {
        let gathered = own.iter().map(|(index, lists)| {
            let sums = self.gathered_list(lists.sums())?;
            Ok((*index, sums.finish()))
        });
        gathered.collect()
    }

    fn gathered_list(&self, own: ListSums) -> Result<ListSums> {
        let Some(ranks) = &self.ranks else {
            return Ok(own);
        };
        let mut counts = [own.lists, own.exact, own.labels, own.errors].map(|count| count as u32);
        sum_counts(ranks.as_ref(), &mut counts)?;
        let [lists, exact, labels, errors] = counts.map(|count| count as usize);
        Ok(ListSums {
            lists,
            exact,
            labels,
            errors,
        })
    }

    /// Adds the counts of all processes.
    pub(super) fn gathered_counts(&self, counts: &mut [u32]) -> Result<()> {
        match &self.ranks {
            Some(ranks) => sum_counts(ranks.as_ref(), counts),
            None => Ok(()),
        }
    }

    /// Checks that all processes have the same parameters.
    pub(super) fn check_equal_parameters(&mut self) -> Result<()> {
        let Some(ranks) = self.ranks.clone() else {
            return Ok(());
        };
        let checksum = self.parameter_checksum()?;
        let all = ranks.gather(checksum.to_le_bytes().to_vec())?;
        match all.iter().position(|other| *other != all[0]) {
            None => Ok(()),
            Some(rank) => Err(Error::Failed(format!(
                "after step {} the parameters of rank {rank} are not those of rank 0: their \
                 devices or drivers compute different bits; use devices and drivers of one kind",
                self.position.step
            ))),
        }
    }
}

/// The values of each batch and chunk in the order of batches, which the processes take in turn.
fn in_turn<T>(all: &[Vec<T>], chunks: usize) -> impl Iterator<Item = &T> {
    let most = all.iter().map(Vec::len).max().unwrap_or(0);
    (0..most).step_by(chunks).flat_map(move |first| {
        let of_batch = move |own: &'_ Vec<T>| first.min(own.len())..(first + chunks).min(own.len());
        all.iter().flat_map(move |own| &own[of_batch(own)])
    })
}

/// Checks that processes can train a recipe together.
pub(super) fn check_shared(recipe: &Recipe, ranks: &dyn Ranks) -> Result<()> {
    check_count(ranks, recipe.parallel.micro_batches)?;
    let text = recipe.to_toml()?;
    let all = ranks.gather(text.into_bytes())?;
    match all.iter().position(|other| *other != all[0]) {
        None => Ok(()),
        Some(rank) => Err(Error::usage(format!(
            "rank {rank} has another recipe than rank 0; start all processes with the same \
             arguments and files"
        ))),
    }
}
