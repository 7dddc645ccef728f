//! The lines that describe a run.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gatescan::data::text::Unit;
use gatescan::low_level::messages::{is_unprintable, printable};
use gatescan::network::CategoryTable;
use gatescan::{Dataset, Recipe, Result, Splits};

use crate::cli::PROGRAM;

/// The run that the screen shows, described as a plain run prints it.
#[derive(Clone)]
#[cfg_attr(not(feature = "tui"), allow(dead_code))] // read by the screen
pub struct RunDescription {
    pub recipe: String,
    pub device: String,
    pub directory: String,
    /// Of a text: the unit of its tokens, and tokens in a sequence.
    pub tokens: Option<(Unit, usize)>,
}

/// A recipe in one line.
pub fn recipe_line(recipe: &Recipe) -> String {
    let layers = recipe.network.layers.iter();
    let layers: Vec<String> = layers
        .map(|layer| format!("{} {}", layer.cell.name(), layer.hidden_size))
        .collect();
    format!(
        "{}: {}, batch size {}, {} epochs, seed {}",
        recipe.name,
        layers.join(" > "),
        recipe.batch_text(),
        recipe.epochs,
        recipe.seed
    )
}

/// The sizes of the data in one line.
pub fn data_line(data: &Splits) -> String {
    let Dataset {
        count,
        steps,
        features,
        ..
    } = &*data.train;
    let counts = |data: &Option<Arc<Dataset>>| {
        data.as_ref()
            .map_or((0, 0), |data| (data.count, data.count * data.steps))
    };
    let ((test, tested), (validation, validated)) = (counts(&data.test), counts(&data.validation));
    if let Some(vocabulary) = &data.preparation.vocabulary {
        let unit = vocabulary.unit.name();
        let validation = match validation {
            0 => String::new(),
            _ => format!(" {validated} to validate on in {validation},"),
        };
        return format!(
            "{} {unit}s to train on in {count} streams of {steps},{validation} {tested} to test on in {test}, \
             a vocabulary of {}",
            count * steps,
            vocabulary.size()
        );
    }
    let validation = match validation {
        0 => String::new(),
        _ => format!(", {validation} validation"),
    };
    format!(
        "{count} training{validation} and {test} test sequences of {steps} steps with {features} \
         features"
    )
}

/// How the network reads the categories of the data, in one line; `None` where they have none.
pub fn categories_line(recipe: &Recipe, data: &Splits) -> Result<Option<String>> {
    let categories = &data.preparation.categories;
    if categories.is_empty() {
        return Ok(None);
    }
    let tables = recipe
        .network_for(&data.train, &data.preparation)?
        .categories;
    if tables.is_empty() {
        let names = recipe.data.source().category_names().iter();
        let columns: Vec<String> = names
            .zip(categories)
            .map(|(name, own)| format!("{} of {}", own.len(), printable(name)))
            .collect();
        return Ok(Some(format!("{}, one-hot", columns.join(", "))));
    }
    let columns: Vec<String> = tables
        .iter()
        .map(|table| {
            let CategoryTable {
                name, count, size, ..
            } = table;
            format!("{count} of {} as vectors of {size}", printable(name))
        })
        .collect();
    Ok(Some(format!("{}, learnt", columns.join(", "))))
}

/// The times since the process began at which the start-up was done.
#[derive(Clone, Copy, Default)]
pub struct StartTimes {
    pub device_opened: Duration,
    pub data_loaded: Duration,
    pub program_loaded: Duration,
}

impl StartTimes {
    /// The times in one line, where the first step was done at `first_step`.
    pub fn line(&self, first_step: Duration) -> String {
        let times = [self.device_opened, self.data_loaded, self.program_loaded];
        let [opened, data, loaded] = times.map(|time| time.as_secs_f64());
        let step = first_step.as_secs_f64();
        format!(
            "start   first step after {step:.2} s: device and data {:.2} s (device open after \
             {opened:.2} s), program {:.2} s, step {:.2} s",
            data.max(opened),
            loaded - data.max(opened),
            step - loaded
        )
    }
}

/// Unit of the tokens and tokens in a sequence, of a text.
pub fn tokens_of(data: &Splits) -> Option<(Unit, usize)> {
    let vocabulary = data.preparation.vocabulary.as_ref()?;
    Some((vocabulary.unit, data.train.steps))
}

/// A speed in sequences per second; of a text, in `tokens` as [`tokens_of`] returns them.
pub fn speed(tokens: Option<(Unit, usize)>, sequences: f64) -> String {
    match tokens {
        Some((unit, steps)) => format!("{:.0} {}s/s", sequences * steps as f64, unit.name()),
        None => format!("{sequences:.0} sequences/s"),
    }
}

/// The name by which this program was called.
pub fn program() -> String {
    let name = PROGRAM.get();
    name.map_or("gatescan".into(), |name| shell_word(Path::new(name)))
}

/// A path as a word of a shell: quoted if the shell would change it, and with its bytes in octal if
/// they are no printable text.
pub fn shell_word(path: &Path) -> String {
    let word = path.display().to_string();
    if path.to_str().is_none() || word.contains(is_unprintable) {
        let bytes = path.as_os_str().as_encoded_bytes();
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"'\\".contains(&byte);
        let bytes = bytes.iter().map(|&byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("\\{byte:03o}")
            }
        });
        return format!("$'{}'", bytes.collect::<String>());
    }
    if word.contains(|c: char| "\"$`\\!".contains(c)) && cfg!(unix) {
        return format!("'{}'", word.replace('\'', r"'\''"));
    }
    if word.contains(|c: char| c.is_whitespace() || "'&;|<>()*?[]#~{}".contains(c)) {
        return format!("\"{word}\"");
    }
    word
}
