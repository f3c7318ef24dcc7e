//! What a template is parsed into.

/// A statement with its line.
pub struct Statement {
    pub line: u32,
    pub kind: StatementKind,
}

pub enum StatementKind {
    Text(String),
    Print(Expr),
    If {
        branches: Vec<(Expr, Vec<Statement>)>,
        otherwise: Vec<Statement>,
    },
    For(Box<Loop>),
    Set {
        target: Target,
        value: Expr,
    },
    SetBlock {
        target: Target,
        filters: Vec<Call>,
        body: Vec<Statement>,
    },
    With {
        variables: Vec<(String, Expr)>,
        body: Vec<Statement>,
    },
    Macro(Box<Macro>),
    CallBlock {
        call: Expr,
        caller: Box<Macro>,
    },
    Filter {
        filters: Vec<Call>,
        body: Vec<Statement>,
    },
    /// `generation`: its body, always rendered.
    Body(Vec<Statement>),
    Break,
    Continue,
}

/// What is assigned to.
pub enum Target {
    Name(String),
    Tuple(Vec<Target>),
    /// A variable's attribute: of a namespace alone.
    Attribute(String, String),
}

impl Target {
    /// The names that it gives a value to.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::Name(name) => vec![name],
            Self::Tuple(targets) => targets.iter().flat_map(Self::names).collect(),
            Self::Attribute(..) => vec![],
        }
    }
}

pub struct Loop {
    pub target: Target,
    pub iter: Expr,
    pub condition: Option<Expr>,
    pub recursive: bool,
    pub body: Vec<Statement>,
    pub otherwise: Vec<Statement>,
}

pub struct Macro {
    pub name: String,
    pub parameters: Vec<(String, Option<Expr>)>,
    pub body: Vec<Statement>,
}

/// A filter or test by name, or the arguments alone of another call.
pub struct Call {
    pub name: String,
    pub args: Vec<Expr>,
    pub named: Vec<(String, Expr)>,
}

pub enum Expr {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(String),
    Name(String),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Attribute(Box<Expr>, String),
    Item(Box<Expr>, Box<Expr>),
    Slice(Box<Expr>, Box<[Option<Expr>; 3]>),
    Call(Box<Expr>, Box<Call>),
    Filter(Box<Expr>, Box<Call>),
    Test {
        value: Box<Expr>,
        call: Box<Call>,
        negated: bool,
    },
    Not(Box<Expr>),
    Negative(Box<Expr>),
    Positive(Box<Expr>),
    Binary(Operator, Box<Expr>, Box<Expr>),
    /// `~` of several.
    Concat(Vec<Expr>),
    /// A chain: each side holds against the next one.
    Compare(Box<Expr>, Vec<(Comparison, Expr)>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    If {
        condition: Box<Expr>,
        then: Box<Expr>,
        otherwise: Option<Box<Expr>>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Operator {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}
