//! What holds for the processes of one call.

/// Computed by the gate for each call. Today nothing but the policy stands before a process.
#[derive(Debug, Clone, Default)]
pub enum Confinement {
    /// The user's own rights.
    #[default]
    Off,
}
