//! Starts processes, all of them, with the confinement that holds for their call.

mod confinement;
mod environment;
mod process;
mod spawn;

pub use confinement::Confinement;
pub use environment::{Environment, MARKER_VARIABLE, bash, environment, find_program};
pub use process::Process;
pub use spawn::{Input, Output, Request, Running, spawn};
