//! Layers that shift and scale values: `Normalization`, `Rescaling`, and arithmetic with constants.
//! Before the recurrent layers they become the normalisation of inputs, after the head that of
//! targets.

use serde_json::Value;

use super::graph::Argument;
use super::layers::LayerEntry;
use super::options::{LayerOptions, misplaced};
use crate::data::preparation::Normal;
use crate::error::{Error, Result};

/// Keras's epsilon, the least deviation of `Normalization`.
const LEAST_DEVIATION: f64 = 1e-7;
/// What gatescan has, for errors.
const HAS: &str = "one shift and one positive scale for each feature";

/// An operation on every value of a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// The second operand of an operation.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) enum Operand {
    /// One for each feature, or one for all.
    Constants(Vec<f64>),
    /// The means that the `Normalization` stores.
    StoredMeans,
    /// The deviations by the variances that the `Normalization` stores.
    StoredDeviations,
}

/// One operation of a layer.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct ScalingStep {
    /// The index of the layer in `config.json`.
    pub layer: usize,
    /// The layer in errors.
    pub label: String,
    pub operation: Arithmetic,
    pub operand: Operand,
}

/// Means and variances that a `Normalization` stores in the file of weights.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct StoredStatistics {
    pub means: Vec<f32>,
    pub variances: Vec<f32>,
}

/// Returns the operations of a layer, if it is one that shifts or scales.
pub(super) fn steps(entry: &LayerEntry, arguments: &[Argument]) -> Result<Vec<ScalingStep>> {
    let mut options = LayerOptions::new(&entry.label, entry.options)?;
    let operations = match entry.class {
        "Normalization" => normalization(&mut options)?,
        "Rescaling" => {
            let mut read = |option, default: f64| match options.get(option) {
                None => Ok(vec![default]),
                Some(value) => constants(&entry.label, value),
            };
            let (scale, offset) = (read("scale", 1.0)?, read("offset", 0.0)?);
            vec![
                (Arithmetic::Multiply, Operand::Constants(scale)),
                (Arithmetic::Add, Operand::Constants(offset)),
            ]
        }
        _ => vec![with_constant(entry, arguments)?],
    };
    options.finish()?;
    let step = |(operation, operand)| ScalingStep {
        layer: entry.index,
        label: entry.label.clone(),
        operation,
        operand,
    };
    Ok(operations.into_iter().map(step).collect())
}

/// `(x - mean) / max(sqrt(variance), epsilon)`, or its inverse.
fn normalization(options: &mut LayerOptions) -> Result<Vec<(Arithmetic, Operand)>> {
    let axis = options.get("axis").cloned().unwrap_or_default();
    let axes = match &axis {
        Value::Array(axes) => &axes[..],
        Value::Null => &[],
        one => std::slice::from_ref(one),
    };
    // The last of [N, T, F] is the feature; -2 and 1 are the time.
    if !axes
        .iter()
        .all(|axis| [Some(-1), Some(2)].contains(&axis.as_i64()))
    {
        return Err(options.refused(
            "axis",
            &axis,
            "means and deviations of features (axis = -1)",
        ));
    }
    let statistics = match (options.get("mean"), options.get("variance")) {
        (Some(mean), Some(variance)) => Some((mean, variance)),
        _ => None,
    };
    let (means, deviations) = match statistics {
        None => (Operand::StoredMeans, Operand::StoredDeviations),
        Some((mean, variance)) => {
            let variances = constants(options.label(), variance)?;
            let deviations = variances.into_iter().map(deviation).collect();
            let means = constants(options.label(), mean)?;
            (Operand::Constants(means), Operand::Constants(deviations))
        }
    };
    Ok(if options.flag("invert", false)? {
        vec![(Arithmetic::Multiply, deviations), (Arithmetic::Add, means)]
    } else {
        vec![
            (Arithmetic::Subtract, means),
            (Arithmetic::Divide, deviations),
        ]
    })
}

fn deviation(variance: f64) -> f64 {
    variance.sqrt().max(LEAST_DEVIATION)
}

/// An operation of `keras.ops` with a constant.
fn with_constant(entry: &LayerEntry, arguments: &[Argument]) -> Result<(Arithmetic, Operand)> {
    let operation = match entry.class {
        "Add" => Arithmetic::Add,
        "Subtract" => Arithmetic::Subtract,
        "Multiply" => Arithmetic::Multiply,
        _ => Arithmetic::Divide,
    };
    let commutes = matches!(operation, Arithmetic::Add | Arithmetic::Multiply);
    let constant = match arguments {
        [Argument::Tensor(_), Argument::Constant(constant)] => constant,
        [Argument::Constant(constant), Argument::Tensor(_)] if commutes => constant,
        _ => {
            let problem = "is not an operation on a tensor and, after it, a constant";
            return Err(misplaced(&entry.label, problem, HAS));
        }
    };
    Ok((
        operation,
        Operand::Constants(constants(&entry.label, constant)?),
    ))
}

/// The constants of the features: a number, or numbers along the last axis.
fn constants(label: &str, value: &Value) -> Result<Vec<f64>> {
    let mut inner = match value["class_name"].as_str() {
        Some("__numpy__") => &value["config"]["value"],
        _ => value,
    };
    // Axes of extent 1 before the last one.
    while let Value::Array(one) = inner
        && let [only @ Value::Array(_)] = &one[..]
    {
        inner = only;
    }
    let numbers: Option<Vec<f64>> = match inner {
        Value::Array(numbers) => numbers.iter().map(Value::as_f64).collect(),
        number => number.as_f64().map(|number| vec![number]),
    };
    let numbers = numbers.filter(|numbers| !numbers.is_empty());
    numbers.ok_or_else(|| {
        let problem = "has constants that are not one number, or one for each feature";
        misplaced(label, problem, HAS)
    })
}

/// A shift and a scale for each feature, in f64.
struct Columns {
    normals: Vec<(f64, f64)>,
}

/// Returns the normalisation of inputs `(x - mean) / deviation` that the steps are together.
/// `stored` returns the statistics of the layer with an index.
///
/// # Errors
/// [`Error::Usage`] that names the layer whose constants do not fit `features`, or whose scale is
/// not positive.
pub(in super::super) fn of_inputs(
    steps: &[ScalingStep],
    features: usize,
    stored: &dyn Fn(usize) -> Option<StoredStatistics>,
) -> Result<Vec<Normal>> {
    composed(
        steps,
        features,
        stored,
        |(mean, deviation), operation, by| {
            // ((x - mean) / deviation) changed by the operation.
            match operation {
                Arithmetic::Add => (mean - deviation * by, deviation),
                Arithmetic::Subtract => (mean + deviation * by, deviation),
                Arithmetic::Multiply => (mean, deviation / by),
                Arithmetic::Divide => (mean, deviation * by),
            }
        },
    )
}

/// Returns the normalisation of targets `y * deviation + mean` that the steps are together.
///
/// # Errors
/// Those of [`of_inputs`].
pub(in super::super) fn of_targets(
    steps: &[ScalingStep],
    outputs: usize,
    stored: &dyn Fn(usize) -> Option<StoredStatistics>,
) -> Result<Vec<Normal>> {
    composed(
        steps,
        outputs,
        stored,
        |(mean, deviation), operation, by| match operation {
            Arithmetic::Add => (mean + by, deviation),
            Arithmetic::Subtract => (mean - by, deviation),
            Arithmetic::Multiply => (mean * by, deviation * by),
            Arithmetic::Divide => (mean / by, deviation / by),
        },
    )
}

fn composed(
    steps: &[ScalingStep],
    width: usize,
    stored: &dyn Fn(usize) -> Option<StoredStatistics>,
    change: impl Fn((f64, f64), Arithmetic, f64) -> (f64, f64),
) -> Result<Vec<Normal>> {
    if steps.is_empty() {
        return Ok(vec![]);
    }
    let mut columns = Columns {
        normals: vec![(0.0, 1.0); width],
    };
    for step in steps {
        let operands = step.operands(stored)?;
        if ![1, width].contains(&operands.len()) {
            let problem = format!("has {} constants for {width} features", operands.len());
            return Err(misplaced(&step.label, &problem, HAS));
        }
        for (normal, operand) in columns.normals.iter_mut().zip(operands.iter().cycle()) {
            *normal = change(*normal, step.operation, *operand);
        }
        columns.check(&step.label)?;
    }
    let normal = |(mean, deviation): (f64, f64)| Normal { mean, deviation };
    Ok(columns.normals.into_iter().map(normal).collect())
}

impl ScalingStep {
    fn operands(&self, stored: &dyn Fn(usize) -> Option<StoredStatistics>) -> Result<Vec<f64>> {
        if let Operand::Constants(constants) = &self.operand {
            return Ok(constants.clone());
        }
        let statistics = stored(self.layer).ok_or_else(|| {
            let label = &self.label;
            Error::usage(format!(
                "{label}: the file has no means and variances of it"
            ))
        })?;
        let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect();
        Ok(match self.operand {
            Operand::StoredMeans => wide(&statistics.means),
            _ => {
                let variances: Vec<f64> = wide(&statistics.variances);
                variances.into_iter().map(deviation).collect()
            }
        })
    }
}

impl Columns {
    /// Refuses what a normalisation in f32 cannot hold.
    fn check(&self, label: &str) -> Result<()> {
        let is_held = |&(mean, deviation): &(f64, f64)| {
            (mean as f32).is_finite() && (deviation as f32).is_normal() && deviation > 0.0
        };
        match self.normals.iter().find(|normal| !is_held(normal)) {
            None => Ok(()),
            Some((mean, deviation)) => {
                let problem = format!("makes the shift {mean} and the scale {deviation}");
                Err(misplaced(label, &problem, HAS))
            }
        }
    }
}
