//! Starts processes, all of them, with the confinement that holds for their call.

mod confined;
mod confinement;
mod containment;
mod environment;
mod keeper;
mod launcher;
mod leader;
#[path = "../../launcher/src/order.rs"]
#[allow(dead_code, reason = "this side writes orders, the launcher reads them")]
mod order;
mod probe;
mod process;
mod protected;
mod quarantine;
mod repository;
mod seatbelt;
mod secret_places;
mod session;
mod spawn;

pub use confined::Hold;
pub use confinement::Confinement;
pub use containment::Containment;
pub use environment::{Environment, MARKER_VARIABLE, bash, environment, find_program};
pub use process::Process;
pub use quarantine::Before;
pub use session::{Sandbox, Settings};
pub use spawn::{Input, Output, Request, Running, spawn};
