//! CEL, the Common Expression Language, as far as its cost is bounded by the size of the object and of the node's pool.
//!
//! An expression knows `object` (or, of one element of a list, `self`) and `node`. The macros `exists`, `all` and
//! `exists_one` go over a list; within them stand only their own variables, `node` and literals, and a macro within a
//! macro goes over something of the outer one's variable. So every part of the object is looked at at most once for each
//! word of the expression, and so is every member of the pool (`node.neighbours`), never for each element. `map` and `filter` copy what they have made for each element, and regular expressions are made
//! anew for each text: they are not there.
//!
//! Source: github.com/google/cel-spec, doc/langdef.md.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};

use cel::common::ast::operators::*;
use cel::common::ast::{ComprehensionExpr, Expr, IdedExpr};
use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::parser::PrattParser;
use cel::{Context, Env, ExecutionError, Value as CelValue};
use serde_json::Value;

use crate::kube::json::Outline;

const MAX_TEXT: usize = 1024;
const MAX_NESTED: usize = 3;
const MAX_MACROS: usize = 8;
/// Functions beside the operators.
const FUNCTIONS: [&str; 10] = ["size", "contains", "startsWith", "endsWith", "int", "uint", "double", "string", "bool", "dyn"];

const OPERATORS: [&str; 19] = [
    CONDITIONAL,
    LOGICAL_AND,
    LOGICAL_OR,
    LOGICAL_NOT,
    SUBSTRACT,
    ADD,
    MULTIPLY,
    DIVIDE,
    MODULO,
    EQUALS,
    NOT_EQUALS,
    GREATER_EQUALS,
    LESS_EQUALS,
    GREATER,
    LESS,
    NEGATE,
    INDEX,
    IN,
    NOT_STRICTLY_FALSE,
];

/// What an expression over an element calls it.
const ELEMENT: &str = "self";

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// A JSON value as expressions see it; clones are cheap.
#[derive(Debug, Clone)]
pub struct Term(Arc<dyn Val>);

/// A checked expression whose value is a boolean.
#[derive(Debug)]
pub struct Expression {
    text: String,
    parsed: IdedExpr,
    subject: &'static str,
    uses_node: bool,
    asks_for: Parts,
}

/// The parts of its subject that an expression asks for, so that nothing else is taken apart: an object's managedFields
/// are often most of it.
#[derive(Debug, Default)]
struct Parts {
    /// It asks for the subject itself.
    whole: bool,
    /// By the name of a member those of its own members; none of them: all of it.
    members: BTreeMap<String, Option<BTreeSet<String>>>,
}

impl Parts {
    /// `names`: from the subject inwards.
    fn note(&mut self, names: &[&str]) {
        match names {
            [] => self.whole = true,
            [member] => drop(self.members.insert((*member).to_owned(), None)),
            [member, inner, ..] => {
                let some = self.members.entry((*member).to_owned()).or_insert_with(|| Some(BTreeSet::new()));
                if let Some(some) = some {
                    some.insert((*inner).to_owned());
                }
            }
        }
    }

    fn of(&self, subject: &mut Outline<'_>) -> Option<Value> {
        let json = subject.text();
        if self.whole || !json.starts_with(b"{") {
            return serde_json::from_slice(json).ok();
        }
        let mut value = serde_json::Map::new();
        for (name, inner) in &self.members {
            let Some(at) = subject.find(name).ok()? else { continue };
            let text = &json[at];
            let part = match inner {
                Some(inner) if text.starts_with(b"{") => some_members(text, inner)?,
                _ => serde_json::from_slice(text).ok()?,
            };
            value.insert(name.clone(), part);
        }
        Some(Value::Object(value))
    }
}

fn some_members(json: &[u8], wanted: &BTreeSet<String>) -> Option<Value> {
    let (mut value, mut object) = (serde_json::Map::new(), Outline::new(json));
    for name in wanted {
        if let Some(at) = object.find(name).ok()? {
            value.insert(name.clone(), serde_json::from_slice(&json[at]).ok()?);
        }
    }
    Some(Value::Object(value))
}

impl From<Value> for Term {
    fn from(value: Value) -> Self {
        Self(term(value).into())
    }
}

/// As the interpreter works with it: what is bound by way of [`cel::Value`] is copied several times for that.
fn term(value: Value) -> Box<dyn Val> {
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(value) => Box::new(CelBool::from(value)),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Box::new(CelInt::from(number)),
            (None, Some(number)) => Box::new(CelUInt::from(number)),
            (None, None) => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
        Value::String(text) => Box::new(CelString::from(text)),
        Value::Array(list) => Box::new(CelList::from(list.into_iter().map(term).collect::<Vec<_>>())),
        Value::Object(members) => {
            let members = members.into_iter().map(|(name, value)| (CelMapKey::from(name), term(value)));
            Box::new(CelMap::from(members.collect::<HashMap<_, _>>()))
        }
    }
}

/// What an expression knows; looked at where it is, for the node may be as large as its pool.
struct Variables<'a> {
    name: &'static str,
    subject: Box<dyn Val>,
    node: Option<&'a Term>,
}

impl VariableResolver for Variables<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        match name {
            "node" => self.node.map(|node| CowVal::Borrowed(&*node.0)),
            name => (name == self.name).then(|| CowVal::Borrowed(&*self.subject)),
        }
    }
}

impl Expression {
    /// One that is about `object`.
    pub(super) fn of_object(text: &str) -> Result<Self, String> {
        Self::new(text, "object")
    }

    /// One that is about an element of a list, `self`.
    pub(super) fn of_element(text: &str) -> Result<Self, String> {
        Self::new(text, ELEMENT)
    }

    fn new(text: &str, subject: &'static str) -> Result<Self, String> {
        if text.len() > MAX_TEXT {
            return Err(format!("at most {MAX_TEXT} bytes"));
        }
        let parsed = PrattParser::new().max_recursion_depth(64).parse(text).map_err(|error| error.to_string())?;
        let mut check = Check { subject, loops: Vec::new(), macros: 0, uses_node: false, asks_for: Parts::default() };
        check.visit(&parsed.expr)?;
        let Check { uses_node, asks_for, .. } = check;
        Ok(Self { text: text.to_owned(), parsed, subject, uses_node, asks_for })
    }

    pub fn uses_node(&self) -> bool {
        self.uses_node
    }

    #[cfg(test)]
    pub fn taking_all_apart(mut self) -> Self {
        self.asks_for.whole = true;
        self
    }

    /// Whether it holds for a JSON value. The error says why it has no value, and nothing of what is in the object.
    pub fn holds(&self, subject: &mut Outline<'_>, node: Option<&Term>) -> Result<bool, String> {
        let subject = self.asks_for.of(subject).ok_or("the object cannot be read")?;
        let variables = Variables { name: self.subject, subject: term(subject), node };
        let mut context = Context::with_env(ENV.clone());
        context.set_variable_resolver(&variables);
        match CelValue::resolve(&self.parsed, &context) {
            Ok(CelValue::Bool(value)) => Ok(value),
            Ok(other) => Err(format!("its value is a {}, not a bool", other.type_of())),
            // A key that the expression does not name itself is something of the object's.
            Err(ExecutionError::NoSuchKey(name)) if self.text.contains(name.as_str()) => Err(format!("no such key: {name}")),
            Err(ExecutionError::NoSuchOverload(error)) => Err(error.to_string()),
            Err(_) => Err("it cannot be evaluated".to_owned()),
        }
    }
}

/// Looks at every word of an expression before it is ever used.
struct Check<'a> {
    subject: &'static str,
    /// The variables of the macros around the word at hand.
    loops: Vec<&'a str>,
    macros: usize,
    uses_node: bool,
    asks_for: Parts,
}

impl<'a> Check<'a> {
    fn visit(&mut self, expr: &'a Expr) -> Result<(), String> {
        match expr {
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => {
                if name == self.subject {
                    self.asks_for.note(&[]);
                }
                self.name(name)
            }
            Expr::Select(select) => {
                let of_node = matches!(&select.operand.expr, Expr::Ident(name) if name == "node");
                if of_node && self.repeats() && select.field != "neighbours" {
                    self.uses_node = true;
                    return Ok(());
                }
                let mut names = vec![select.field.as_str()];
                let mut root = &select.operand.expr;
                while let Expr::Select(select) = root {
                    names.push(&select.field);
                    root = &select.operand.expr;
                }
                match root {
                    Expr::Ident(name) if name == self.subject => {
                        names.reverse();
                        self.asks_for.note(&names);
                        self.name(name)
                    }
                    _ => self.visit(&select.operand.expr),
                }
            }
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.visit(&element.expr)),
            Expr::Call(call) => {
                let name = call.func_name.as_str();
                if !OPERATORS.contains(&name) && !FUNCTIONS.contains(&name) {
                    return Err(format!(
                        "there is no {name}(); there are {}, has, exists, all and exists_one",
                        FUNCTIONS.join(", ")
                    ));
                }
                if name == IN && self.repeats() && call.args.len() == 2 && is_neighbours(&call.args[1].expr) {
                    self.uses_node = true;
                    return self.visit(&call.args[0].expr);
                }
                let words = call.target.iter().map(|target| &**target).chain(&call.args);
                words.map(|word| &word.expr).try_for_each(|word| self.visit(word))
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => Err("maps and messages cannot be made here".to_owned()),
        }
    }

    /// Whether the word at hand is gone through for each element of something.
    fn repeats(&self) -> bool {
        !self.loops.is_empty() || self.subject == ELEMENT
    }

    fn name(&mut self, name: &str) -> Result<(), String> {
        // What a macro adds up.
        let own = name.starts_with('@') || self.loops.last().is_some_and(|variable| *variable == name);
        if own {
            return Ok(());
        }
        if name == "node" {
            // It may be as large as its pool, and would be gone through for each element.
            if self.repeats() {
                return Err("where each element is asked, of node there are name, pool, zone and `in node.neighbours`".into());
            }
            self.uses_node = true;
            return Ok(());
        }
        match self.loops.last() {
            None if name == self.subject => Ok(()),
            None => Err(format!("{name} is not known; there are {} and node", self.subject)),
            Some(variable) => Err(format!("{name} cannot stand in a macro over {variable}; there are {variable} and node")),
        }
    }

    fn comprehension(&mut self, comprehension: &'a ComprehensionExpr) -> Result<(), String> {
        if matches!(comprehension.accu_init.expr, Expr::List(_)) {
            return Err("map() and filter() cost more than the object's size allows; there are exists, all and exists_one".into());
        }
        if comprehension.iter_var2.is_some() {
            return Err("a macro has one variable here".into());
        }
        if self.loops.len() == MAX_NESTED {
            return Err(format!("at most {MAX_NESTED} macros within each other"));
        }
        self.macros += 1;
        if self.macros > MAX_MACROS {
            return Err(format!("at most {MAX_MACROS} macros"));
        }
        if ["object", "self", "node"].contains(&comprehension.iter_var.as_str()) {
            return Err(format!("{} is no name for a macro's variable", comprehension.iter_var));
        }
        if let Some(variable) = self.loops.last()
            && !is_of(&comprehension.iter_range.expr, variable)
        {
            return Err(format!("a macro within one over {variable} goes over something of {variable}"));
        }
        self.visit(&comprehension.iter_range.expr)?;
        self.loops.push(&comprehension.iter_var);
        for part in [&comprehension.loop_cond, &comprehension.loop_step] {
            self.visit(&part.expr)?;
        }
        self.loops.pop();
        // Of what the macro has added up, and nothing else.
        self.visit(&comprehension.result.expr)
    }
}

fn is_neighbours(expr: &Expr) -> bool {
    matches!(expr, Expr::Select(select) if !select.test && select.field == "neighbours"
        && matches!(&select.operand.expr, Expr::Ident(name) if name == "node"))
}

/// Whether it is the variable, or a part of it.
fn is_of(expr: &Expr, variable: &str) -> bool {
    match expr {
        Expr::Ident(name) => name == variable,
        Expr::Select(select) => !select.test && is_of(&select.operand.expr, variable),
        Expr::Call(call) if call.func_name == INDEX => match &call.args[..] {
            [list, index] => is_of(&list.expr, variable) && matches!(index.expr, Expr::Literal(_)),
            _ => false,
        },
        _ => false,
    }
}
