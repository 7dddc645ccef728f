//! PyTorch: [`export`] writes the `state_dict` as safetensors and the module that it belongs to;
//! [`import`] reads a `state_dict`.

mod export;
mod import;
mod order;
mod python;
mod state_dict;

pub use export::export;
pub use import::import;

/// The end of the parameters' names of a backward direction.
const REVERSE: &str = "_reverse";

/// Splits the name of a recurrent parameter: `weight_ih_l0_reverse` into `weight_ih`, 0,
/// `_reverse`.
fn split_name(name: &str) -> Option<(&str, usize, &str)> {
    let (name, reverse) = split_reverse(name);
    let (kind, level) = name.rsplit_once("_l")?;
    let known = ["weight_ih", "weight_hh", "weight_hr", "bias_ih", "bias_hh"].contains(&kind);
    Some((kind, level.parse().ok().filter(|_| known)?, reverse))
}

/// Splits `_reverse`, or nothing, from the end of a name.
fn split_reverse(name: &str) -> (&str, &str) {
    match name.strip_suffix(REVERSE) {
        Some(name) => (name, REVERSE),
        None => (name, ""),
    }
}
