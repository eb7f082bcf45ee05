//! Where a path leads, and which places inside a workspace are protected.

use std::path::{Component, Path, PathBuf};

/// A path as it was asked for and as the file system resolves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Absolute, `.` and `..` removed by text alone.
    pub requested: PathBuf,
    /// Absolute, every symbolic link followed as far as there is something to follow.
    pub target: PathBuf,
    /// Index of the root the target lies beneath; `None`: outside of all.
    pub root: Option<usize>,
    /// The target relative to that root.
    pub relative: PathBuf,
    /// May files there be written at all?
    pub is_writable: bool,
    /// Holds secrets (`sandbox::secret_places`); never in a root.
    pub is_hidden: bool,
    /// Lies in a place that is executed or trusted later (see `is_protected` and `git_config`).
    pub is_protected: bool,
}

/// `path` made absolute on `base`, `.` and `..` removed by text.
pub fn absolute(base: &Path, path: &Path) -> PathBuf {
    let mut result = if path.is_absolute() { PathBuf::new() } else { base.to_path_buf() };
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                result.pop();
            }
            other => result.push(other),
        }
    }
    result
}

/// Folders whose content configures or is run by something else later, wherever they stand in a workspace.
const PROTECTED_FOLDERS: &[&str] = &[
    ".git",
    ".claw",
    ".claude",
    ".codex",
    ".vscode",
    ".idea",
    ".cursor",
    ".jupyter",
    ".ipython",
    ".husky",
    ".githooks",
    ".hg",
    ".circleci",
    ".buildkite",
    ".gemini",
    ".opencode",
    ".continue",
    ".windsurf",
    ".roo",
    ".kiro",
    ".zed",
    ".devcontainer",
    ".ssh",
    ".gnupg",
    ".aws",
    ".cargo",
    ".yarn",
    ".mvn",
    ".direnv",
    ".emacs.d",
];
/// The same, two components long.
const PROTECTED_PAIRS: &[(&str, &str)] = &[
    (".github", "workflows"),
    (".github", "actions"),
    (".gitea", "workflows"),
    (".forgejo", "workflows"),
    (".julia", "config"),
    (".config", "git"),
    (".config", "fish"),
    (".config", "systemd"),
    (".config", "autostart"),
    (".config", "nvim"),
    (".config", "pip"),
    (".config", "matplotlib"),
    (".local", "bin"),
    ("jupyter", "kernels"),
    ("jupyter", "labextensions"),
    ("jupyter", "nbextensions"),
    // Programs that a later command finds by name.
    (".venv", "bin"),
    ("venv", "bin"),
    ("env", "bin"),
    ("node_modules", ".bin"),
];
const PROTECTED_FILES: &[&str] = &[
    ".bashrc",
    ".bash_profile",
    ".bash_login",
    ".bash_logout",
    ".bash_aliases",
    ".profile",
    ".zshrc",
    ".zprofile",
    ".zshenv",
    ".zlogin",
    ".zlogout",
    ".kshrc",
    ".cshrc",
    ".tcshrc",
    ".login",
    ".inputrc",
    ".pythonrc",
    ".pythonrc.py",
    ".gitconfig",
    ".gitmodules",
    ".gitattributes",
    ".ripgreprc",
    ".npmrc",
    ".yarnrc",
    ".yarnrc.yml",
    ".pypirc",
    ".netrc",
    ".pdbrc",
    ".mcp.json",
    ".envrc",
    ".env.claw",
    ".gitlab-ci.yml",
    ".travis.yml",
    ".drone.yml",
    ".appveyor.yml",
    "appveyor.yml",
    "azure-pipelines.yml",
    "bitbucket-pipelines.yml",
    "jenkinsfile",
    ".devcontainer.json",
    "opencode.json",
    ".opencode.json",
    ".aider.conf.yml",
    // Read by programs when they start.
    ".rprofile",
    ".renviron",
    ".gdbinit",
    ".lldbinit",
    ".vimrc",
    ".exrc",
    ".nvim.lua",
    ".nvimrc",
    ".dir-locals.el",
    ".tmux.conf",
    ".screenrc",
    ".sqliterc",
    ".psqlrc",
    ".curlrc",
    ".wgetrc",
    ".hgrc",
    ".irbrc",
    ".pryrc",
    ".bazelrc",
    ".mise.toml",
    "mise.toml",
    ".pre-commit-config.yaml",
    "lefthook.yml",
    ".lefthook.yml",
    ".xprofile",
    ".xinitrc",
    ".pam_environment",
    ".emacs",
    ".ghci",
    ".ocamlinit",
    ".condarc",
    "matplotlibrc",
    "sitecustomize.py",
    "usercustomize.py",
    "ipython_config.py",
    "ipython_kernel_config.py",
    "kernel.json",
];

/// True where writing means that something else runs or trusts it later: repositories' hooks and configuration, editor
/// and agent settings, shell start-up files, Python start-up files, Jupyter's configuration. Existing or not; letter
/// case does not matter, because on some file systems it does not.
pub fn is_protected(relative: &Path) -> bool {
    let names: Vec<String> = relative
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_string_lossy().to_lowercase()),
            _ => None,
        })
        .collect();
    let Some(file) = names.last() else { return false };
    let is_jupyter_config = |name: &String| {
        name.starts_with("jupyter") && ["_config.py", "_config.json", "_config.d"].iter().any(|end| name.ends_with(end))
    };
    names.iter().any(|name| PROTECTED_FOLDERS.contains(&name.as_str()))
        || names.windows(2).any(|pair| PROTECTED_PAIRS.iter().any(|(a, b)| pair[0] == *a && pair[1] == *b))
        || PROTECTED_FILES.contains(&file.as_str())
        || has_end(file, "pth")
        || has_end(file, "code-workspace")
        || names.iter().any(is_jupyter_config)
}

fn has_end(name: &str, end: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, own)| own == end)
}

/// What commands may write although the file tools ask: a command that writes it works with it in the sandbox, and holding
/// it would keep ordinary programs from running (`npm install`, `python -m venv`, `torch.save("model.pth")`).
const FREE_FOR_COMMANDS: &[&str] = &[".git", ".yarn", ".gitattributes", "kernel.json", ".yarnrc.yml"];
/// Held for commands beside the above.
const HELD_PAIRS: &[(&str, &str)] = &[(".yarn", "releases"), (".yarn", "plugins")];
const FREE_PAIRS: &[&str] = &["bin", ".bin"];

/// True where a command may not write, existing or not, unless this very place was allowed to it: the same table as
/// `is_protected`, by name and the name of the folder above. Repositories are looked at apart (`sandbox::repository`).
pub fn is_held(parent: &str, name: &str) -> bool {
    let (parent, name) = (parent.to_lowercase(), name.to_lowercase());
    let is_pair = |pairs: &[(&str, &str)]| pairs.iter().any(|(a, b)| parent == *a && name == *b);
    if FREE_FOR_COMMANDS.contains(&name.as_str()) || (FREE_PAIRS.contains(&name.as_str()) && is_pair(PROTECTED_PAIRS)) {
        return false;
    }
    let is_site = matches!(parent.as_str(), "site-packages" | "dist-packages");
    is_pair(HELD_PAIRS)
        || is_pair(PROTECTED_PAIRS)
        || (is_protected(Path::new(&name)) && (is_site || !has_end(&name, "pth")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protected_places() {
        for path in [
            ".git/hooks/x",
            "a/.git/config",
            ".GIT/config",
            ".vscode/tasks.json",
            "x/sitecustomize.py",
            "lib/evil.pth",
            ".bashrc",
            ".mcp.json",
            ".envrc",
            ".github/workflows/ci.yml",
            "jupyter_lab_config.py",
            "etc/jupyter/jupyter_server_config.d/x.json",
            "x.code-workspace",
            ".local/bin/ls",
            ".venv/bin/git",
        ] {
            assert!(is_protected(Path::new(path)), "{path}");
        }
        for path in ["src/git.py", "config", ".gitignore", ".github/README.md", "path.py", "kernels/a.py", ""] {
            assert!(!is_protected(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn what_is_held_from_commands() {
        for (parent, name) in
            [("w", ".vscode"), (".github", "workflows"), ("w", ".BASHRC"), ("site-packages", "x.pth"), ("w", ".envrc")]
        {
            assert!(is_held(parent, name), "{parent}/{name}");
        }
        for (parent, name) in
            [("w", ".git"), (".venv", "bin"), (".local", "bin"), ("w", "model.pth"), ("w", "src"), ("w", ".github")]
        {
            assert!(!is_held(parent, name), "{parent}/{name}");
        }
    }

    #[test]
    fn dots_are_removed_by_text() {
        let base = Path::new("/w");
        assert_eq!(absolute(base, Path::new("a/./b/../c")), Path::new("/w/a/c"));
        assert_eq!(absolute(base, Path::new("../x")), Path::new("/x"));
        assert_eq!(absolute(base, Path::new("/../../x")), Path::new("/x"));
    }
}
