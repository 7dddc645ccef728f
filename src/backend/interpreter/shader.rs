//! From a kernel to [`Code`]: the same text and constants as on a GPU.

use naga::ShaderStage;
use naga::back::pipeline_constants::process_overrides;
use naga::valid::{Capabilities, ValidationFlags, Validator};

use super::code::Code;
use super::lower::lower;
use crate::error::{Error, Result};

/// Parses and lowers WGSL, with values of its override constants.
///
/// # Errors
/// [`Error::Defect`] for WGSL that is not valid; [`Error::Failed`] for what the interpreter does
/// not support.
pub(super) fn compile(kernel: &str, source: &str, constants: &[(&str, f64)]) -> Result<Code> {
    let defect = |problem: String| Error::Defect {
        device: format!("the interpreter, kernel {kernel}"),
        problem,
    };
    let module = naga::front::wgsl::parse_str(source)
        .map_err(|error| defect(error.emit_to_string(source)))?;
    let mut validator = Validator::new(
        ValidationFlags::all(),
        Capabilities::SUBGROUP | Capabilities::SHADER_FLOAT16,
    );
    let info = validator
        .validate(&module)
        .map_err(|error| defect(error.emit_to_string(source)))?;
    let values = constants.iter();
    let values = values
        .map(|&(name, value)| (name.to_string(), value))
        .collect();
    let main = Some((ShaderStage::Compute, "main"));
    let (module, info) = process_overrides(&module, &info, main, &values)
        .map_err(|error| defect(error.to_string()))?;
    lower(kernel, source, &module, &info)
}
