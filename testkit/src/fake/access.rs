//! Who a caller is, and what a caller may do.
//!
//! A client certificate is looked at before a token, as in the real server; one that does not
//! verify is passed over. Nothing is allowed unless a rule says so, save to `system:masters`, to
//! nodes, and what every authenticated user may do.

use std::collections::HashMap;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::request::Target;
use super::status::Failure;

/// An authenticated caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// `system:serviceaccount:NAMESPACE:NAME`, a certificate's common name, ...
    pub name: String,
    /// Includes `system:authenticated`.
    pub groups: Vec<String>,
}

/// Lets a user (or a group) do something. `*` matches anything.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) user: String,
    pub(crate) verb: String,
    pub(crate) resource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// Tokens and rules.
#[derive(Default)]
pub(crate) struct Access {
    tokens: HashMap<String, (User, Option<SystemTime>)>,
    rules: Vec<Rule>,
}

/// One question to the rules.
#[derive(Clone, Debug, Default)]
pub(crate) struct Question {
    pub(crate) verb: String,
    pub(crate) resource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl User {
    /// An authenticated user.
    pub(crate) fn new(name: &str, groups: impl IntoIterator<Item = String>) -> Self {
        let mut groups: Vec<String> = groups.into_iter().filter(|group| !group.is_empty()).collect();
        if !groups.iter().any(|group| group == "system:authenticated") {
            groups.push("system:authenticated".to_owned());
        }
        Self { name: name.to_owned(), groups }
    }

    pub(crate) fn anonymous() -> Self {
        Self { name: "system:anonymous".to_owned(), groups: vec!["system:unauthenticated".to_owned()] }
    }

    pub(crate) fn service_account(namespace: &str, name: &str) -> Self {
        let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
        Self::new(&format!("system:serviceaccount:{namespace}:{name}"), groups)
    }

    fn is(&self, subject: &str) -> bool {
        subject == "*" || subject == self.name || self.groups.iter().any(|group| group == subject)
    }

    fn all_powerful(&self) -> bool {
        self.is("system:masters") || self.name.starts_with("system:node:")
    }

    pub(crate) fn info(&self) -> Value {
        json!({"username": self.name, "groups": self.groups})
    }
}

impl Rule {
    fn allows(&self, user: &User, question: &Question) -> bool {
        let fits = |rule: &str, asked: &str| rule == "*" || rule == asked;
        user.is(&self.user)
            && fits(&self.verb, &question.verb)
            && fits(&self.resource, &question.resource)
            && fits(&self.namespace, &question.namespace)
            && fits(&self.name, &question.name)
    }
}

impl Access {
    pub(crate) fn add_token(&mut self, token: &str, user: User, expires: Option<SystemTime>) {
        self.tokens.insert(token.to_owned(), (user, expires));
    }

    pub(crate) fn remove_token(&mut self, token: &str) {
        self.tokens.remove(token);
    }

    pub(crate) fn add_rule(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    pub(crate) fn clear_rules(&mut self) {
        self.rules.clear();
    }

    /// The token's user, unless unknown or expired.
    pub(crate) fn token(&self, token: &str) -> Option<User> {
        let (user, expires) = self.tokens.get(token)?;
        let live = expires.is_none_or(|expires| SystemTime::now() < expires);
        live.then(|| user.clone())
    }

    /// Whether any rule lets the user do it.
    pub(crate) fn allows(&self, user: &User, question: &Question) -> bool {
        user.all_powerful() || self.rules.iter().any(|rule| rule.allows(user, question))
    }

    /// Rules that apply to a user in a namespace, as a review lists them.
    pub(crate) fn listed(&self, user: &User, namespace: &str) -> Vec<Value> {
        let everything = user.all_powerful().then(|| json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        let applying = self
            .rules
            .iter()
            .filter(|rule| user.is(&rule.user) && (rule.namespace == "*" || namespace.is_empty() || rule.namespace == namespace));
        let listed = applying.map(|rule| {
            let mut value = json!({"verbs": [rule.verb], "apiGroups": ["*"], "resources": [rule.resource]});
            if rule.name != "*" {
                value["resourceNames"] = json!([rule.name]);
            }
            value
        });
        everything.into_iter().chain(listed).collect()
    }

    /// Refuses what is not allowed, in the real server's words.
    pub(crate) fn check(&self, user: &User, target: &Target) -> Result<(), Failure> {
        let review = target.verb == "create" && target.resource.plural.starts_with("selfsubject");
        let question = Question {
            verb: target.verb.to_owned(),
            resource: with_subresource(target),
            namespace: target.namespace.clone(),
            name: target.name.clone(),
        };
        if review && user.is("system:authenticated") || self.allows(user, &question) {
            return Ok(());
        }
        let place = match target.namespace.as_str() {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace \"{namespace}\""),
        };
        let why = format!(
            "User \"{}\" cannot {} resource \"{}\" in API group \"{}\" {place}",
            user.name, question.verb, question.resource, target.resource.group
        );
        Err(Failure::forbidden(Some((&target.resource, &target.name)), &why))
    }

    /// Refuses a path that is no resource. Health, version and discovery are open to all users.
    pub(crate) fn check_path(&self, user: &User, verb: &str, path: &str) -> Result<(), Failure> {
        let health = ["/healthz", "/livez", "/readyz", "/version"];
        let discovery = ["/api", "/apis", "/openapi"];
        let under = |bases: &[&str]| bases.iter().any(|base| path == *base || path.starts_with(&format!("{base}/")));
        let open = under(&health) || user.is("system:authenticated") && under(&discovery);
        let question = Question { verb: verb.to_owned(), resource: path.to_owned(), ..Question::default() };
        if open || self.allows(user, &question) {
            return Ok(());
        }
        let why = format!("User \"{}\" cannot {verb} path \"{path}\"", user.name);
        Err(Failure::forbidden(None, &why))
    }
}

fn with_subresource(target: &Target) -> String {
    match target.subresource.split('/').next().unwrap_or_default() {
        "" => target.resource.plural.clone(),
        sub => format!("{}/{sub}", target.resource.plural),
    }
}
