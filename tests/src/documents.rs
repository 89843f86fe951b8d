//! The fenced blocks of the project's documents.

use crate::env::root;

/// A document's fenced blocks, in order.
#[derive(Debug)]
pub struct Document {
    path: String,
    /// Language and text.
    blocks: Vec<(String, String)>,
}

impl Document {
    /// Reads a document by its path from the root.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn read(path: &str) -> Self {
        let text = std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut parts = text.split("```");
        parts.next();
        let mut blocks = Vec::new();
        while let (Some(block), Some(_prose)) = (parts.next(), parts.next()) {
            let (language, text) = block.split_once('\n').expect("a fence ends its line");
            blocks.push((language.to_owned(), text.to_owned()));
        }
        Self {
            path: path.to_owned(),
            blocks,
        }
    }

    /// The one block of this language that mentions this.
    ///
    /// # Panics
    /// If there is none, or more than one.
    pub fn block(&self, language: &str, mention: &str) -> String {
        let mut found = self
            .blocks
            .iter()
            .filter(|(l, text)| l == language && text.contains(mention));
        let path = &self.path;
        let (_, text) = found
            .next()
            .unwrap_or_else(|| panic!("{path} has no {language} block with {mention}"));
        assert!(
            found.next().is_none(),
            "{path} has more than one {language} block with {mention}"
        );
        text.clone()
    }

    /// All blocks of this language, in order.
    pub fn blocks<'d>(&'d self, language: &'d str) -> impl Iterator<Item = &'d str> {
        let blocks = self.blocks.iter().filter(move |(l, _)| l == language);
        blocks.map(|(_, text)| text.as_str())
    }

    /// The requests it shows, `sh` blocks with `curl`, each with the `json` block after it.
    pub fn exchanges(&self) -> impl Iterator<Item = (&str, &str)> {
        self.blocks.windows(2).filter_map(|two| match two {
            [(sh, request), (json, answer)] if sh == "sh" && request.contains("curl") && json == "json" => {
                Some((request.as_str(), answer.as_str()))
            }
            _ => None,
        })
    }
}
