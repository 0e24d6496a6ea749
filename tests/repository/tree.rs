//! A repository as the rules see it: paths and texts, from disk or made up.

use std::collections::BTreeMap;
use std::path::Path;

/// Text files by path relative to the repository root.
#[derive(Clone, Default)]
pub(crate) struct Tree(BTreeMap<String, String>);

/// Folders that hold no source: build output, history, test data.
const SKIPPED: [&str; 4] = ["target", ".git", "data", "record"];
/// What counts as text.
const EXTENSIONS: [&str; 7] = ["rs", "cu", "cuh", "toml", "md", "py", "txt"];

impl Tree {
    /// Everything below a folder.
    pub(crate) fn read(root: &Path) -> Self {
        let mut tree = Self::default();
        let mut open = vec![root.to_owned()];
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                let extension = path.extension().map(|text| text.to_string_lossy().into_owned());
                let inside = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
                if path.is_dir() {
                    if !SKIPPED.contains(&name.as_str()) {
                        open.push(path);
                    }
                } else if inside == ".ci/run" || extension.is_some_and(|text| EXTENSIONS.contains(&text.as_str())) {
                    tree.put(&inside, &std::fs::read_to_string(&path).unwrap());
                }
            }
        }
        tree
    }

    /// Adds or replaces a file.
    pub(crate) fn put(&mut self, path: &str, text: &str) {
        self.0.insert(path.to_owned(), text.to_owned());
    }

    /// Removes a file.
    pub(crate) fn remove(&mut self, path: &str) {
        self.0.remove(path);
    }

    /// Text of a file, empty when there is none.
    pub(crate) fn text(&self, path: &str) -> &str {
        self.0.get(path).map_or("", String::as_str)
    }

    /// Whether there is such a file.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// Every path and text, sorted.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Whether a module file declares `mod name`.
    pub(crate) fn declares(&self, path: &str, name: &str) -> bool {
        modules(self.text(path)).iter().any(|module| module.name == name)
    }
}

/// A line `mod name;` or `mod name {`.
pub(crate) struct Module {
    /// Its name.
    pub(crate) name: String,
    /// The path of an attribute `#[path = "..."]` above it.
    pub(crate) path: Option<String>,
    /// Whether the body is in another file.
    pub(crate) in_file: bool,
    /// Index of the line.
    pub(crate) line: usize,
}

/// The modules that a text declares.
pub(crate) fn modules(text: &str) -> Vec<Module> {
    let mut modules = Vec::new();
    let mut path = None;
    for (line, code) in text.lines().map(str::trim).enumerate() {
        if let Some(rest) = code.strip_prefix("#[path = \"") {
            path = rest.split('"').next().map(str::to_owned);
            continue;
        }
        let visible = match code.strip_prefix("pub") {
            Some(rest) => rest.trim_start().split_once(") ").map_or(rest, |(_, rest)| rest).trim_start(),
            None => code,
        };
        if let Some(rest) = visible.strip_prefix("mod ") {
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let in_file = rest[name.len()..].starts_with(';');
            modules.push(Module { name, path: path.take(), in_file, line });
        } else if !code.starts_with("#[") && !code.starts_with("//") {
            path = None;
        }
    }
    modules
}
