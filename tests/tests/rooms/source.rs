//! Who imports whom between the modules of a crate, read from its sources.
//!
//! Tokens are read, not text: comments, strings and test code do not count, code inside macro calls does. A name counts
//! for the module that defines it, through however many `use` lines it is brought there.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// A module's place in its crate, the root's being empty.
pub type Name = Vec<String>;

/// The modules of a crate, of its library and its binary together.
#[derive(Debug, Default)]
pub struct Tree {
    /// Where the sources lie.
    src: PathBuf,
    /// How the binary names the library.
    library: String,
    modules: BTreeMap<Name, Module>,
}

#[derive(Debug, Default)]
struct Module {
    /// What `use` brings in, by the name it has here.
    bindings: BTreeMap<String, Vec<String>>,
    /// Modules all of whose names `use` brings in.
    globs: Vec<Vec<String>>,
    /// Every path of the module, those of `use` included.
    paths: Vec<(Vec<String>, Place)>,
}

/// File, as seen from the sources' directory, and line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(PathBuf, usize);

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.0.display(), self.1)
    }
}

/// What a name stands for.
enum Meaning {
    Module(Name),
    /// Something defined in this module.
    Item(Name),
    /// Something of another crate, or a name that is defined where it is used.
    Foreign,
}

impl Tree {
    /// Reads the modules that `lib.rs` and `main.rs` of a directory declare, those for tests alone left out. `library`
    /// is the name of the library crate.
    pub fn read(src: &Path, library: &str) -> Self {
        let mut tree = Self { src: src.to_owned(), library: library.to_owned(), modules: BTreeMap::new() };
        for root in ["lib.rs", "main.rs"].map(|file| src.join(file)).iter().filter(|file| file.is_file()) {
            tree.read_file(root, src, &[]);
        }
        tree
    }

    /// The modules at the top.
    pub fn rooms(&self) -> Vec<&str> {
        self.modules.keys().filter(|name| name.len() == 1).map(|name| name[0].as_str()).collect()
    }

    /// Every import as importing module, imported module and place. A name alone that `use` brought in is that import.
    pub fn imports(&self) -> impl Iterator<Item = (&Name, Name, &Place)> {
        let all = self.modules.iter().flat_map(|(name, module)| {
            let repeats = |path: &[String]| path.len() == 1 && module.bindings.contains_key(&path[0]);
            module.paths.iter().filter(move |(path, _)| !repeats(path)).map(move |path| (name, path))
        });
        all.filter_map(|(name, (path, place))| match self.resolve(name, path, 0) {
            Meaning::Module(target) | Meaning::Item(target) => Some((name, target, place)),
            Meaning::Foreign => None,
        })
    }

    /// `children` is the directory of the modules that the file declares.
    fn read_file(&mut self, file: &Path, children: &Path, name: &[String]) {
        let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("cannot read {}: {e}", file.display()));
        let tokens: TokenStream = text.parse().unwrap_or_else(|e| panic!("{} is not Rust: {e}", file.display()));
        self.read_tokens(tokens, &Source { file, children }, name);
    }

    fn read_tokens(&mut self, tokens: TokenStream, source: &Source<'_>, name: &[String]) {
        self.modules.entry(name.to_vec()).or_default();
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut rest = tokens.as_slice();
        let mut path_attribute = None;
        while let [first, after @ ..] = rest {
            rest = match (first, after) {
                (TokenTree::Punct(hash), [TokenTree::Group(attribute), item @ ..]) if hash.as_char() == '#' => {
                    if is_for_tests(attribute) {
                        after_item(item)
                    } else {
                        path_attribute = path_of(attribute).or(path_attribute);
                        self.read_tokens(attribute.stream(), source, name);
                        item
                    }
                }
                (TokenTree::Ident(word), [TokenTree::Ident(child), what, after @ ..]) if word == "mod" => {
                    let child = child.to_string();
                    let inner = [name, std::slice::from_ref(&child)].concat();
                    let children = source.children.join(&child);
                    if let TokenTree::Group(body) = what {
                        self.read_tokens(body.stream(), &Source { children: &children, ..*source }, &inner);
                    } else {
                        let beside = source.file.parent().expect("a file lies in a directory");
                        let file = path_attribute.take().map(|path| beside.join(path));
                        self.read_file(&file.unwrap_or(children.with_extension("rs")), &children, &inner);
                    }
                    after
                }
                // Not the `use<'a>` of a type.
                (TokenTree::Ident(word), [next, ..]) if word == "use" && !is_punct(next, '<') => {
                    let end = after.iter().position(|t| is_punct(t, ';')).expect("`use` ends with a semicolon");
                    // `use ::other` is of another crate.
                    if !is_punct(next, ':') {
                        self.read_use(&after[..end], &[], source, name);
                    }
                    &after[end + 1..]
                }
                (TokenTree::Ident(_), _) => {
                    let (path, after) = path(rest);
                    self.add_path(path, first, source, name);
                    after
                }
                // A field or method, the rest of a path behind a type, a path from outside: none names a module of
                // ours.
                (TokenTree::Punct(p), [TokenTree::Ident(_), ..]) if p.as_char() == '.' => path(after).1,
                (TokenTree::Punct(p), [TokenTree::Punct(q), TokenTree::Ident(_), ..])
                    if p.as_char() == ':' && q.as_char() == ':' =>
                {
                    path(&after[1..]).1
                }
                (TokenTree::Group(group), _) => {
                    self.read_tokens(group.stream(), source, name);
                    after
                }
                _ => after,
            };
        }
    }

    /// One branch of a `use` tree behind the segments of `prefix`.
    fn read_use(&mut self, tokens: &[TokenTree], prefix: &[String], source: &Source<'_>, name: &[String]) {
        let (segments, after) =
            if matches!(tokens, [TokenTree::Ident(_), ..]) { path(tokens) } else { (vec![], tokens) };
        let mut whole = [prefix, &segments].concat();
        let after =
            if matches!(after, [a, b, ..] if is_punct(a, ':') && is_punct(b, ':')) { &after[2..] } else { after };
        match after {
            [TokenTree::Group(branches)] => {
                let branches: Vec<TokenTree> = branches.stream().into_iter().collect();
                for branch in branches.split(|token| is_punct(token, ',')).filter(|branch| !branch.is_empty()) {
                    self.read_use(branch, &whole, source, name);
                }
            }
            [star] if is_punct(star, '*') => {
                self.add_path(whole.clone(), star, source, name);
                self.module(name).globs.push(whole);
            }
            _ => {
                // `module::{self, ...}` is the module.
                if whole.len() > 1 {
                    whole.pop_if(|last| last == "self");
                }
                let bound = match after {
                    [_as, TokenTree::Ident(alias)] => alias.to_string(),
                    _ => whole.last().cloned().expect("`use` names something"),
                };
                self.add_path(whole.clone(), &tokens[0], source, name);
                self.module(name).bindings.insert(bound, whole);
            }
        }
    }

    fn add_path(&mut self, path: Vec<String>, at: &TokenTree, source: &Source<'_>, name: &[String]) {
        let file = source.file.strip_prefix(&self.src).unwrap_or(source.file);
        let place = Place(file.to_owned(), at.span().start().line);
        self.module(name).paths.push((path, place));
    }

    fn module(&mut self, name: &[String]) -> &mut Module {
        self.modules.get_mut(name).expect("the module is being read")
    }

    /// What a path in a module means. `depth` guards against names that lead to themselves.
    fn resolve(&self, module: &[String], path: &[String], depth: usize) -> Meaning {
        let (first, rest) = path.split_first().expect("a path has a segment");
        let above =
            |of: &[String]| of.split_last().map_or(Meaning::Foreign, |(_, above)| Meaning::Module(above.to_vec()));
        let mut at = match first.as_str() {
            "crate" => Meaning::Module(vec![]),
            library if library == self.library => Meaning::Module(vec![]),
            "self" => Meaning::Module(module.to_vec()),
            "super" => above(module),
            other => self.lookup(module, other, depth).unwrap_or(Meaning::Foreign),
        };
        for segment in rest {
            let Meaning::Module(inside) = at else { break };
            at = match segment.as_str() {
                "super" => above(&inside),
                other => self.lookup(&inside, other, depth).unwrap_or(Meaning::Item(inside)),
            };
        }
        at
    }

    /// A child of the module or what its `use` lines bring in under the name; nothing if the module defines it, or
    /// nobody.
    fn lookup(&self, module: &[String], name: &str, depth: usize) -> Option<Meaning> {
        let child = [module, &[name.to_owned()]].concat();
        if self.modules.contains_key(&child) {
            return Some(Meaning::Module(child));
        }
        let here = self.modules.get(module).filter(|_| depth < 20)?;
        if let Some(path) = here.bindings.get(name) {
            return Some(self.resolve(module, path, depth + 1));
        }
        here.globs.iter().find_map(|glob| match self.resolve(module, glob, depth + 1) {
            Meaning::Module(of) => self.lookup(&of, name, depth + 1),
            Meaning::Item(_) | Meaning::Foreign => None,
        })
    }
}

/// Where tokens come from.
struct Source<'a> {
    file: &'a Path,
    children: &'a Path,
}

fn is_punct(token: &TokenTree, c: char) -> bool {
    matches!(token, TokenTree::Punct(p) if p.as_char() == c)
}

/// The segments of a path that begins the tokens, and what is behind it.
fn path(mut tokens: &[TokenTree]) -> (Vec<String>, &[TokenTree]) {
    let mut segments = Vec::new();
    while let [TokenTree::Ident(segment), after @ ..] = tokens {
        segments.push(segment.to_string());
        tokens = match after {
            [a, b, next @ ..] if is_punct(a, ':') && is_punct(b, ':') && matches!(next, [TokenTree::Ident(_), ..]) => {
                next
            }
            _ => return (segments, after),
        };
    }
    (segments, tokens)
}

/// What comes after the item that begins the tokens: behind its semicolon or its braces.
fn after_item(tokens: &[TokenTree]) -> &[TokenTree] {
    let ends = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        other => is_punct(other, ';'),
    };
    tokens.iter().position(ends).map_or(&[], |end| &tokens[end + 1..])
}

/// Whether the attribute keeps what it is on for tests.
fn is_for_tests(attribute: &Group) -> bool {
    let tokens: Vec<TokenTree> = attribute.stream().into_iter().collect();
    matches!(&tokens[..], [TokenTree::Ident(cfg), TokenTree::Group(of)] if cfg == "cfg" && needs_test(&of.stream()))
}

fn needs_test(predicate: &TokenStream) -> bool {
    match &predicate.clone().into_iter().collect::<Vec<_>>()[..] {
        [TokenTree::Ident(word)] => word == "test",
        [TokenTree::Ident(all), TokenTree::Group(of)] if all == "all" => {
            let of: Vec<TokenTree> = of.stream().into_iter().collect();
            of.split(|token| is_punct(token, ',')).any(|part| needs_test(&part.iter().cloned().collect()))
        }
        _ => false,
    }
}

/// The file that a `#[path = "..."]` names.
fn path_of(attribute: &Group) -> Option<String> {
    match &attribute.stream().into_iter().collect::<Vec<_>>()[..] {
        [TokenTree::Ident(path), _equals, TokenTree::Literal(file)] if path == "path" => {
            Some(file.to_string().trim_matches('"').to_owned())
        }
        _ => None,
    }
}
