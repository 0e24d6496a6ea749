//! Text to tokens and back.

use std::path::Path;

use shimmytok::{TokenType, Tokenizer as Pieces};

use crate::Result;

/// The tokenizer that a GGUF file holds.
pub struct Tokenizer {
    pieces: Pieces,
    /// Texts that are one token wherever they occur (runs of blanks, tags of HTML), the longest first.
    whole: Vec<(String, u32)>,
}

impl Tokenizer {
    /// Reads it from the file.
    pub fn read(path: &Path) -> Result<Self> {
        let pieces = Pieces::from_gguf_file(path)?;
        let tokens = (0..pieces.vocab_size() as u32).filter(|&id| pieces.token_type(id) == TokenType::UserDefined);
        let mut whole = tokens.map(|id| Ok((pieces.token_to_piece(id)?, id))).collect::<Result<Vec<_>>>()?;
        whole.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        Ok(Self { pieces, whole })
    }

    /// The tokens of a text, after the token that starts a sequence.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = vec![self.pieces.bos_token()];
        let mut start = 0;
        let mut place = 0;
        while let Some(rest) = text.get(place..).filter(|rest| !rest.is_empty()) {
            match self.whole.iter().find(|(piece, _)| rest.starts_with(piece.as_str())) {
                Some((piece, id)) => {
                    ids.extend(self.encode_part(&text[start..place])?);
                    ids.push(*id);
                    place += piece.len();
                    start = place;
                }
                None => place += rest.chars().next().map_or(1, char::len_utf8),
            }
        }
        ids.extend(self.encode_part(&text[start..])?);
        Ok(ids)
    }

    fn encode_part(&self, text: &str) -> Result<Vec<u32>> {
        Ok(if text.is_empty() { Vec::new() } else { self.pieces.encode(text, false)? })
    }

    /// The text of tokens. Bytes that are not UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        Ok(self.pieces.decode(ids, false)?)
    }
}
