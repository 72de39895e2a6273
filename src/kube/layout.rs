//! How the text of an answer is laid out: as it is, indented for people, or as YAML.
//!
//! Receives the JSON text of an answer in pieces, as it streams; promises the same values in the other layout, keys in
//! their order. Indented text is Go's `json.MarshalIndent` with two spaces, as the kube-apiserver has it. YAML comes in
//! blocks, with words plain and all other strings in double quotes, where JSON's escapes mean the same. (The
//! kube-apiserver orders keys and quotes as its own library does: the values are the same, the bytes are not.)
//!
//! Holds one string and what is open around it. Malformed text comes out malformed, nothing panics.

use super::media;

/// How text is laid out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Layout {
    /// As JSON is written for programs.
    #[default]
    Compact,
    Indented,
    Yaml,
}

impl Layout {
    /// What a client is answered in. `pretty`: the parameter of its request. Source: `isPrettyPrint` of
    /// k8s.io/apiserver/pkg/endpoints/handlers/negotiation.
    pub fn wanted(accept: &str, pretty: Option<bool>, user_agent: &str) -> Self {
        let by_hand = || ["curl", "Wget", "Mozilla/5.0"].iter().any(|program| user_agent.starts_with(program));
        // Every request says what it accepts, and next to none says this.
        if !accept.contains("yaml") && !accept.contains("pretty") {
            return Self::of(pretty.unwrap_or_else(by_hand));
        }
        let liked = media::liked(accept);
        let mut clauses = liked.iter().map(|clause| clause.split(';'));
        let spoken = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "*/*", "application/*"];
        let first = clauses.find(|clause| clause.clone().next().is_some_and(|kind| spoken.contains(&kind)));
        let mut first = first.into_iter().flatten();
        if first.next() == Some("application/yaml") {
            return Self::Yaml;
        }
        Self::of(first.any(|parameter| parameter == "pretty=1") || pretty.unwrap_or_else(by_hand))
    }

    fn of(is_pretty: bool) -> Self {
        if is_pretty { Self::Indented } else { Self::Compact }
    }

    /// A whole text of JSON, laid out.
    pub fn lay_out(self, text: &[u8]) -> Vec<u8> {
        let Some(mut relayout) = Relayout::new(self) else { return text.to_owned() };
        let mut out = Vec::with_capacity(text.len() * 2);
        relayout.feed(text, &mut out);
        out
    }

    pub fn content_type(self) -> &'static str {
        if self == Self::Yaml { "application/yaml" } else { "application/json" }
    }
}

/// An object or an array that is open.
#[derive(Clone, Copy)]
struct Open {
    array: bool,
    /// Where its members begin in a line of YAML.
    column: usize,
}

/// Lays out one text.
pub struct Relayout {
    yaml: bool,
    open: Vec<Open>,
    /// An object or array has begun and nothing has come in it yet.
    begun: Option<u8>,
    /// The next string is a member's name.
    name: bool,
    /// In YAML: the line stands where the next member begins.
    placed: bool,
    /// The string or word at hand.
    token: Vec<u8>,
    within: bool,
    escaped: bool,
}

impl Relayout {
    /// `None`: it stays as it is.
    pub fn new(layout: Layout) -> Option<Self> {
        let yaml = layout == Layout::Yaml;
        let new = || Self {
            yaml,
            open: Vec::new(),
            begun: None,
            name: false,
            placed: true,
            token: Vec::new(),
            within: false,
            escaped: false,
        };
        (layout != Layout::Compact).then(new)
    }

    /// Goes on with the text.
    pub fn feed(&mut self, text: &[u8], out: &mut Vec<u8>) {
        for byte in text {
            if self.within {
                self.token.push(*byte);
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => {
                        self.within = false;
                        self.value(out);
                    }
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => {
                    self.token.push(b'"');
                    self.within = true;
                }
                b'{' | b'[' => {
                    self.member(out);
                    self.begun = Some(*byte);
                    self.name = *byte == b'{';
                }
                b'}' | b']' => {
                    self.value(out);
                    self.close(*byte, out);
                }
                b',' => {
                    self.value(out);
                    self.name = self.open.last().is_some_and(|open| !open.array);
                    if !self.yaml {
                        out.push(b',');
                        self.new_line(out);
                    }
                }
                b':' => {
                    self.name = false;
                    if !self.yaml {
                        out.extend_from_slice(b": ");
                    }
                }
                b' ' | b'\n' | b'\r' | b'\t' => self.value(out),
                word => self.token.push(*word),
            }
        }
    }

    /// Writes the string or word at hand, if there is one.
    fn value(&mut self, out: &mut Vec<u8>) {
        if self.token.is_empty() {
            return;
        }
        self.member(out);
        let token = std::mem::take(&mut self.token);
        match (self.yaml, self.name) {
            (false, _) => out.extend_from_slice(&token),
            (true, true) => {
                scalar(&token, out);
                out.push(b':');
                self.placed = false;
            }
            (true, false) => {
                self.space(out);
                scalar(&token, out);
                self.end_line(out);
            }
        }
    }

    /// Before a member's name, an element or the text's one value: what has begun has something in it.
    fn member(&mut self, out: &mut Vec<u8>) {
        if let Some(begun) = self.begun.take() {
            self.enter(begun == b'[', out);
        }
        let Some(open) = self.open.last().copied().filter(|open| self.yaml && (open.array || self.name)) else { return };
        if !self.placed {
            out.resize(out.len() + open.column, b' ');
        }
        if open.array {
            out.extend_from_slice(b"- ");
        }
        self.placed = true;
    }

    fn enter(&mut self, array: bool, out: &mut Vec<u8>) {
        let outer = self.open.last().copied();
        let column = match outer {
            None => 0,
            // A list stands below its name, as Go writes it.
            Some(outer) if array && !outer.array => outer.column,
            Some(outer) => outer.column + 2,
        };
        self.open.push(Open { array, column });
        if !self.yaml {
            out.push(if array { b'[' } else { b'{' });
            self.new_line(out);
        } else if outer.is_some_and(|outer| !outer.array) {
            self.end_line(out);
        }
    }

    fn close(&mut self, byte: u8, out: &mut Vec<u8>) {
        if let Some(begun) = self.begun.take() {
            if self.yaml {
                self.space(out);
            }
            out.extend_from_slice(&[begun, byte]);
            if self.yaml {
                self.end_line(out);
            }
        } else {
            self.open.pop();
            if !self.yaml {
                self.new_line(out);
                out.push(byte);
            }
        }
        self.name = false;
    }

    fn new_line(&self, out: &mut Vec<u8>) {
        out.push(b'\n');
        out.resize(out.len() + 2 * self.open.len(), b' ');
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        out.push(b'\n');
        self.placed = false;
    }

    /// Between a member's name and its value.
    fn space(&self, out: &mut Vec<u8>) {
        if self.open.last().is_some_and(|open| !open.array) {
            out.push(b' ');
        }
    }
}

/// A string or word of JSON as YAML has it.
fn scalar(token: &[u8], out: &mut Vec<u8>) {
    let inner = token.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    match inner {
        None => out.extend_from_slice(token),
        Some(word) if is_plain(word) => out.extend_from_slice(word),
        Some(_) => {
            // DEL may stand in JSON as it is, and may not in YAML.
            for byte in token {
                if *byte == 0x7f { out.extend_from_slice(b"\\x7f") } else { out.push(*byte) }
            }
        }
    }
}

/// Whether it is a string to every reader of YAML without quotes.
fn is_plain(word: &[u8]) -> bool {
    // What YAML 1.1 takes for booleans and nothing, and 1.2 for numbers that begin with a letter.
    const OTHERS: [&str; 11] = ["true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf"];
    word.first().is_some_and(u8::is_ascii_alphabetic)
        && word.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(byte))
        && !OTHERS.iter().any(|other| word.eq_ignore_ascii_case(other.as_bytes()))
}

#[cfg(test)]
mod tests;
