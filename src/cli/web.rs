//! `gatescan web`: a folder of static files that trains a recipe in a browser.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use gatescan::low_level::io::files;
use gatescan::low_level::messages::shown_path;
use gatescan::web::{SiteCases, SiteFile, SiteOptions, file_names, site};
use gatescan::{Error, Recipe, Result};

use super::console::Console;
use super::output::Overwrite;
use super::{check_data_path, set_fields};

/// Sequences of the built-in recipes of MNIST: [training, evaluated].
const MNIST: [usize; 2] = [10_000, 2_000];

/// The most bytes of a WebAssembly module.
const LARGEST_MODULE: u64 = 1 << 26;

/// The most bytes of a request's head that are read.
const LARGEST_REQUEST: u64 = 1 << 14;

/// How long a browser may take to send a request or to take an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Write a web page that trains a recipe on the visitor's GPU.
#[derive(Args)]
#[command(after_help = "\
The page plays the recorded training step through WebGPU: the same kernels, nothing to install. It \
shows the curves, classifies a drawing or samples text, saves the model as a file that `gatescan \
eval` reads, and checks the kernels on the visitor's GPU against expectations in f64. The folder \
holds static files for any web server; the page of a server other than this machine needs https.

The data are part of the folder: publish only data that may be public.

Examples:
  gatescan web                              MNIST with 10,000 images, in ./site
  gatescan web --serve                      the same, and open it at the printed address
  gatescan web text --data input.txt -o text-site
  gatescan web mine.toml --train 5000 --set epochs=5 --cases none -o mine-site
  gatescan web --wasm gatescan.wasm         visitors also train on tables and texts of their own")]
pub struct Web {
    /// A built-in recipe (see `gatescan recipes`), or a path to a TOML file.
    #[arg(default_value = "mnist")]
    recipe: String,
    /// The folder to write.
    #[arg(short, long, value_name = "DIR", default_value = "site")]
    output: PathBuf,
    #[command(flatten)]
    overwrite: Overwrite,
    /// Directory or file of the data [default: the recipe's].
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Change any field of the recipe, for example optimizer.lr=0.01.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Take the first N sequences of the training split [default: all; 10000 of MNIST].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    train: Option<u64>,
    /// Take the first N sequences of the validation and of the test split [default: all; 2000 of
    /// MNIST].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    test: Option<u64>,
    /// The cases of `gatescan verify` that the page can play.
    #[arg(long, value_enum, default_value_t = CaseChoice::Covering)]
    cases: CaseChoice,
    /// Play the first N updates on the CPU now; the page compares its losses with theirs.
    #[arg(long, value_name = "N", default_value_t = 30)]
    checked_steps: usize,
    /// The library as a WebAssembly module, as `bash web/build` of the source makes it: the page
    /// then also trains on a table or text that a visitor chooses, which does not leave the page.
    #[arg(long, value_name = "FILE")]
    wasm: Option<PathBuf>,
    /// Then serve the page on this machine alone, until Ctrl-C.
    #[arg(long)]
    serve: bool,
    /// The port of --serve [default: a free one].
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 0,
        hide_default_value = true
    )]
    #[arg(requires = "serve")]
    port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CaseChoice {
    /// No cases.
    None,
    /// The smallest cases that together have all shaders of `verify --quick`.
    Covering,
    /// All cases of `verify --quick`: a large folder.
    Quick,
}

impl Web {
    pub fn run(&self, console: &Console) -> Result<()> {
        let options = self.options()?;
        for name in file_names(&options) {
            self.overwrite.check(&self.output.join(name))?;
        }
        let mut recipe = Recipe::load(&self.recipe)?;
        if let Some(path) = &self.data {
            check_data_path(&recipe.data, path)?;
            recipe.data.set_path(path.clone());
        }
        set_fields(&mut recipe, &self.set)?;
        recipe.validate()?;
        let data = recipe.load_splits(None)?;
        let files = site(&recipe, &data, &options)?;
        self.write(&files)?;
        let bytes: usize = files.iter().map(|file| file.bytes.len()).sum();
        console.say(format!(
            "wrote {}: {} files, {:.1} MB",
            shown_path(&self.output),
            files.len(),
            bytes as f64 / 1e6
        ));
        if self.serve {
            serve(console, &files, self.port)?;
        }
        Ok(())
    }

    fn options(&self) -> Result<SiteOptions> {
        let module = self.wasm.as_deref().map(read_module).transpose()?;
        let is_mnist = self.recipe == "mnist" || self.recipe.starts_with("mnist-");
        let [train, evaluated] = MNIST.map(|count| is_mnist.then_some(count));
        let given = |count: Option<u64>| count.map(|count| count as usize);
        Ok(SiteOptions {
            train: given(self.train).or(train),
            evaluated: given(self.test).or(evaluated),
            checked_steps: self.checked_steps,
            cases: match self.cases {
                CaseChoice::None => SiteCases::None,
                CaseChoice::Covering => SiteCases::Covering,
                CaseChoice::Quick => SiteCases::Quick,
            },
            module,
        })
    }

    fn write(&self, files: &[SiteFile]) -> Result<()> {
        std::fs::create_dir_all(&self.output)
            .map_err(|error| Error::file(&self.output, format!("cannot be created: {error}")))?;
        for file in files {
            let path = self.output.join(file.name);
            self.overwrite.write_bytes(&path, &file.bytes)?;
        }
        Ok(())
    }
}

/// Reads the file of `--wasm`.
fn read_module(path: &Path) -> Result<Vec<u8>> {
    let opened = files::open(path);
    let bytes = opened.and_then(|file| files::read_at_most(file, LARGEST_MODULE));
    bytes.map_err(|error| {
        Error::file(
            path,
            format!("--wasm: the module cannot be read: {error}; build it with `bash web/build`"),
        )
    })
}

/// Serves the files on the loopback address. They are in memory, so no request reaches another
/// file.
fn serve(console: &Console, files: &[SiteFile], port: u16) -> Result<()> {
    let failed = |error: io::Error| {
        let address = PathBuf::from(format!("127.0.0.1:{port}"));
        Error::file(
            &address,
            format!("cannot be served: {error}; try another --port"),
        )
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let _ = console.print(format!("http://{address}/"))?;
    console.say("open this address in a browser; Ctrl-C ends the server");
    std::thread::scope(|scope| {
        for stream in listener.incoming() {
            // A browser that breaks off needs no answer.
            scope.spawn(move || stream.and_then(|stream| answer(stream, files)));
        }
    });
    Ok(())
}

/// Reads one request and answers it.
fn answer(mut stream: TcpStream, files: &[SiteFile]) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut head = BufReader::new((&stream).take(LARGEST_REQUEST));
    let mut request = String::new();
    head.read_line(&mut request)?;
    // The rest of the head is read, since closing before that may drop the answer.
    let mut line = String::new();
    while head.read_line(&mut line)? > 2 {
        line.clear();
    }
    let (status, kind, body) = response(&request, files);
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    if !request.starts_with("HEAD ") {
        stream.write_all(body)?;
    }
    stream.flush()
}

/// Status, type and body of the answer to a request's first line.
fn response<'a>(request: &str, files: &'a [SiteFile]) -> (&'static str, &'static str, &'a [u8]) {
    const TEXT: &str = "text/plain; charset=utf-8";
    let mut words = request.split_whitespace();
    let (Some("GET" | "HEAD"), Some(target)) = (words.next(), words.next()) else {
        return ("405 Method Not Allowed", TEXT, b"only GET and HEAD\n");
    };
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let name = match path {
        "/" => "index.html",
        path => path.trim_start_matches('/'),
    };
    let Some(file) = files.iter().find(|file| file.name == name) else {
        return ("404 Not Found", TEXT, b"there is no such file\n");
    };
    let kind = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    };
    ("200 OK", kind, &file.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_files_of_the_site_are_served() {
        let file = |name| SiteFile {
            name,
            bytes: name.into(),
        };
        let files = [file("index.html"), file("player.js"), file("data.bin")];
        let status = |request: &str| response(request, &files).0;
        for (request, kind) in [
            ("GET / HTTP/1.1\r\n", "text/html; charset=utf-8"),
            ("HEAD /index.html HTTP/1.1\r\n", "text/html; charset=utf-8"),
            (
                "GET /player.js?a=b HTTP/1.1\r\n",
                "text/javascript; charset=utf-8",
            ),
            ("GET /data.bin HTTP/1.0\r\n", "application/octet-stream"),
        ] {
            let (status, found, _) = response(request, &files);
            assert_eq!((status, found), ("200 OK", kind), "{request}");
        }
        for path in [
            "/../Cargo.toml",
            "/site/index.html",
            "/etc/passwd",
            "/%2e%2e/x",
            "//",
        ] {
            assert_eq!(status(&format!("GET {path} HTTP/1.1\r\n")), "404 Not Found");
        }
        for request in ["POST / HTTP/1.1\r\n", "", "GET", "\u{0}\u{1}"] {
            assert_eq!(status(request), "405 Method Not Allowed");
        }
    }

    #[test]
    fn a_request_is_answered_over_tcp() {
        let files = [SiteFile {
            name: "index.html",
            bytes: b"<p>page</p>".to_vec(),
        }];
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        std::thread::scope(|scope| {
            scope.spawn(|| answer(listener.accept().expect("a request").0, &files));
            let mut stream = TcpStream::connect(address).expect("it listens");
            let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n";
            stream.write_all(request).expect("it is sent");
            let mut text = String::new();
            stream.read_to_string(&mut text).expect("it is answered");
            assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
            assert!(text.ends_with("\r\n\r\n<p>page</p>"), "{text}");
        });
    }
}
