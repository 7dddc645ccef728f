//! Sums of the errors of an evaluated split, for metrics of each epoch.

use crate::backend::executor::Executor;
use crate::data::Dataset;
use crate::data::preparation::Preparation;
use crate::error::Result;
use crate::kernels::{ErrorSums, IGNORE};
use crate::network::Loss;
use crate::program::Phase;
use crate::record::RecordedNetwork;
use crate::tensor::{Element, Kind};
use crate::train::scores::SplitMetrics;

/// The sums of the errors of one target, recorded in an evaluation.
#[derive(Debug, Clone)]
pub(super) struct RecordedErrors {
    sums: ErrorSums,
    /// The unit of the outputs, in units of the data.
    unit: f64,
    /// The sum of squares of the targets' differences from their mean, in units of the data.
    scatter: f64,
}

impl RecordedErrors {
    /// Records the sums in `phase`; `None` for classes, for several targets, and for outputs that
    /// are no point forecasts.
    pub(super) fn record(
        network: &mut RecordedNetwork,
        phase: Phase,
        data: &Dataset,
        preparation: &Preparation,
    ) -> Option<RecordedErrors> {
        let head = &network.network.head;
        let is_forecast = matches!(
            head.loss,
            Loss::MeanSquaredError
                | Loss::MeanAbsoluteError
                | Loss::Huber { .. }
                | Loss::GaussianNll
        );
        let targets = network
            .head
            .targets
            .filter(|_| is_forecast && head.targets() == 1)?;
        let (kind, element) = (Kind::Control, Element::Real);
        let name = format!("{phase:?}.errors").to_lowercase();
        let sums = ErrorSums {
            outputs: network.head.outputs,
            targets,
            labels: network.head.labels,
            lengths: network.lengths,
            sums: network.program.buffer(name, kind, element, [3]),
        };
        network.program.push(phase, sums.clone());
        let unit = preparation.targets.first();
        Some(RecordedErrors {
            sums,
            unit: unit.map_or(1.0, |normal| normal.deviation),
            scatter: scatter(data, preparation),
        })
    }

    /// Sets the sums to zero.
    pub(super) fn clear(&self, executor: &mut dyn Executor) -> Result<()> {
        executor.write(&self.sums.sums, &[0.0; 3])
    }

    /// Returns the sums and sets them to zero.
    pub(super) fn take(&self, executor: &mut dyn Executor) -> Result<[f32; 3]> {
        let sums = executor.read(&self.sums.sums)?;
        self.clear(executor)?;
        Ok([0, 1, 2].map(|n| sums[n]))
    }

    /// Adds the metrics of these sums, or else of those on the device.
    pub(super) fn add_metrics(
        &self,
        executor: &mut dyn Executor,
        sums: Option<[f64; 3]>,
        metrics: &mut SplitMetrics,
    ) -> Result<()> {
        let [absolute, squared, count] = match sums {
            Some(sums) => sums,
            None => {
                let sums = executor.read(&self.sums.sums)?;
                [0, 1, 2].map(|n| f64::from(sums[n]))
            }
        };
        if count > 0.0 {
            let squared = squared * self.unit * self.unit;
            metrics.mae = Some(absolute / count * self.unit);
            metrics.rmse = metrics.rmse.or(Some((squared / count).sqrt()));
            let has_scatter = count > 1.0 && self.scatter > 0.0;
            metrics.r2 = has_scatter.then(|| 1.0 - squared / self.scatter);
        }
        Ok(())
    }
}

/// The sum of squares of the differences of one target from its mean (Welford 1962), at the last
/// step of each sequence.
fn scatter(data: &Dataset, preparation: &Preparation) -> f64 {
    let crate::data::Targets::Values {
        values, per_step, ..
    } = &data.targets
    else {
        return 0.0;
    };
    let labels = data.labels();
    let (mut count, mut mean, mut scatter) = (0.0, 0.0, 0.0);
    for n in 0..data.count {
        let length = data
            .lengths
            .as_ref()
            .map_or(data.steps, |all| all[n] as usize);
        let Some(last) = length.checked_sub(1) else {
            continue;
        };
        let row = if *per_step { n * data.steps + last } else { n };
        if labels[row] == IGNORE {
            continue;
        }
        let input = data.input_rows(n, last..last + 1);
        let target = preparation.restore_value(0, values[row], input);
        count += 1.0;
        let from_mean = target - mean;
        mean += from_mean / count;
        scatter += from_mean * (target - mean);
    }
    scatter
}
