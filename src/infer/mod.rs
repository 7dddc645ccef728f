//! A trained model in use: predicting, continuing a series, writing text.

pub mod generate;
pub mod predict;
pub mod sample;
