//! `llm-kernels`: what is this machine (`info`), are the kernels right on it (`check`), how fast are they (`bench`), how fast
//! would they be (`model`), what do they make of my tensors
//! (`run`), and which tiles does a pattern of sparse attention visit (`pattern`).
//!
//! It knows no operator: everything comes from the descriptions in `llm_kernels::verify::ops`.

mod bench;
mod check;
mod failure;
mod info;
mod model;
mod occupancy;
mod output;
mod pattern;
mod progress;
mod published;
mod run;
mod select;
mod tensors;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use failure::Failure;

/// Hand-written CUDA kernels for language models: check, measure and run them, on a GPU or on softcuda.
#[derive(Debug, Parser)]
#[command(version, name = "llm-kernels", disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
struct Global {
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    /// auto, cuda:N, software, software:sm_80, software:sm_89 or software:sm_90 [default: LLM_KERNELS_DEVICE, else auto]
    #[arg(long, global = true, value_name = "DEVICE")]
    device: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the device and its limits
    Info {
        /// Show every kernel: registers, shared memory, spills, and the occupancy they allow on the device
        #[arg(long)]
        kernels: bool,
    },
    /// Compare operators with their references over a sweep of shapes; exit code 1 if any disagrees
    Check {
        /// A family or an operator, such as `attention` or `attention/flash_forward` [default: all]
        #[arg(value_name = "FAMILY[/OP]")]
        select: Option<String>,
    },
    /// Measure operators; a row is printed only if the same run agreed with the reference
    Bench {
        /// A family or an operator, such as `attention` or `attention/flash_forward`
        #[arg(value_name = "FAMILY[/OP]")]
        select: String,
        /// Write the rows to a CSV file too
        #[arg(long, value_name = "FILE")]
        csv: Option<PathBuf>,
        /// Show the ten hottest lines of each row, of PTX and of the CUDA source (software device)
        #[arg(long)]
        hot: bool,
    },
    /// Model the time of shapes too large for the software device, from a sample of their blocks
    Model {
        /// A family or an operator, such as `attention` or `attention/flash_forward` [default: all]
        #[arg(value_name = "FAMILY[/OP]", conflicts_with = "published")]
        select: Option<String>,
        /// Compare modelled with published times of kernels of the same kind
        #[arg(long)]
        published: bool,
        /// Of the published times only those of sequences up to this length
        #[arg(long, value_name = "LENGTH", default_value_t = usize::MAX, hide_default_value = true, requires = "published")]
        longest: usize,
    },
    /// Show which tiles a pattern of sparse attention visits, in numbers and as a drawing
    Pattern(pattern::PatternArgs),
    /// Run an operator on tensors of a safetensors file
    Run(RunArgs),
}

/// Arguments of `run`.
#[derive(Debug, Args)]
struct RunArgs {
    /// The operator, such as `attention/flash_forward`
    #[arg(value_name = "FAMILY/OP")]
    op: String,
    /// Print the operator's tensors and options as JSON, and run nothing
    #[arg(long)]
    describe: bool,
    /// A safetensors file with the inputs, by name; other tensors in it are ignored
    #[arg(long, value_name = "FILE", required_unless_present = "describe")]
    input: Option<PathBuf>,
    /// The safetensors file to write the outputs to
    #[arg(long, value_name = "FILE", required_unless_present = "describe")]
    output: Option<PathBuf>,
    /// Compute the reference too, on the host, and compare; exit code 1 if they disagree
    #[arg(long)]
    verify: bool,
    /// An option of the operator; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE")]
    options: Vec<String>,
}

fn main() -> ExitCode {
    // One line for whatever happens, also for a defect of our own.
    std::panic::set_hook(Box::new(|panic| eprintln!("error: internal error, please report it: {}", one_line(panic))));
    let result = std::panic::catch_unwind(|| match Cli::try_parse() {
        Ok(cli) => execute(cli),
        Err(error) => usage(&error),
    });
    match result {
        Ok(Ok(())) | Ok(Err(Failure::ReaderGone)) => ExitCode::SUCCESS,
        Ok(Err(Failure::Message(message))) => {
            eprintln!("error: {}", one_line(&message));
            ExitCode::FAILURE
        }
        Err(_) => ExitCode::FAILURE,
    }
}

fn execute(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Info { kernels } => info::run(&cli.global, kernels),
        Command::Check { select } => check::run(&cli.global, select.as_deref()),
        Command::Bench { select, csv, hot } => bench::run(&cli.global, &select, csv.as_deref(), hot),
        Command::Model { published: true, longest, .. } => published::run(&cli.global, longest),
        Command::Model { select, .. } => model::run(&cli.global, select.as_deref()),
        Command::Pattern(arguments) => pattern::run(&cli.global, &arguments),
        Command::Run(arguments) => run::run(&cli.global, &arguments),
    }
}

/// Help and version are answers; the rest is an error of one line.
fn usage(error: &clap::Error) -> Result<(), Failure> {
    if !error.use_stderr() {
        return Ok(output::line(error.render().to_string().trim_end())?);
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Err(Failure::Message(
            "no command; there are info, check, bench, model, pattern and run (see --help)".to_owned(),
        ));
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    // The first paragraph says what is wrong; usage and hints follow it.
    let first = text.split("\n\n").next().unwrap_or(text);
    Err(Failure::Message(format!("{} (see --help)", one_line(first))))
}

/// Joins the lines of a text.
fn one_line(text: &(impl ToString + ?Sized)) -> String {
    text.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Global {
    /// Opens the device that was asked for.
    fn open(&self) -> Result<llm_kernels::Device, Failure> {
        let variable = std::env::var("LLM_KERNELS_DEVICE").ok().filter(|name| !name.is_empty());
        let name = self.device.clone().or(variable).unwrap_or_else(|| "auto".to_owned());
        Ok(llm_kernels::Device::open(&name)?)
    }
}
