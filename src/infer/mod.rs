//! A trained model in use: predictions, continued series, sampled text.

pub mod dataset;
pub mod decoding;
pub mod forecast;
pub mod generate;
pub mod intervals;
pub mod lines;
pub mod outputs;
pub mod predict;
pub mod requests;
pub mod sample;
mod sequences;
pub mod step_predictor;
mod stepper;
