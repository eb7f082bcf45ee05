//! What a call would touch, as tools declare it and as it crosses to Python.

use serde::{Deserialize, Serialize};

/// One thing a call would touch. Paths are as the model wrote them; the workspace says where they lead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// Reads a file, or the files below a folder.
    ReadPath {
        /// Absolute, or relative to the workspace.
        path: String,
    },
    /// Creates or changes a file.
    WritePath {
        /// Absolute, or relative to the workspace.
        path: String,
    },
    /// Runs a shell command line.
    Run {
        /// The line as the shell gets it.
        command: String,
    },
    /// Starts a program of the tool's own choice, without a shell: an interpreter, a language server.
    Start {
        /// The program and its arguments.
        argv: Vec<String>,
    },
    /// Talks to a host.
    Fetch {
        /// Name or address, without port.
        host: String,
    },
    /// Runs code in the user's own namespace, which nothing confines.
    Namespace,
    /// Looks at variables without running code of theirs.
    Inspect {
        /// The variable; empty for the list of all.
        #[serde(default)]
        name: String,
    },
    /// Calls a tool of an MCP server.
    Mcp {
        /// The full name, `mcp__server__tool`.
        tool: String,
    },
}

impl Effect {
    /// Its name in JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ReadPath { .. } => "read_path",
            Self::WritePath { .. } => "write_path",
            Self::Run { .. } => "run",
            Self::Start { .. } => "start",
            Self::Fetch { .. } => "fetch",
            Self::Namespace => "namespace",
            Self::Inspect { .. } => "inspect",
            Self::Mcp { .. } => "mcp",
        }
    }
}
