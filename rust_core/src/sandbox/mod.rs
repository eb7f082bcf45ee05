//! Starts processes, all of them, with the confinement that holds for their call.

mod confined;
mod confinement;
mod environment;
mod launcher;
#[path = "../../launcher/src/order.rs"]
#[allow(dead_code, reason = "this side writes orders, the launcher reads them")]
mod order;
mod probe;
mod process;
mod secret_places;
mod session;
mod spawn;

pub use confinement::Confinement;
pub use session::{Mode, Sandbox, Settings};
pub use environment::{Environment, MARKER_VARIABLE, bash, environment, find_program};
pub use process::Process;
pub use spawn::{Input, Output, Request, Running, spawn};
