//! The client of an OpenAI-compatible endpoint: one question, one reply, and further tries where the
//! server is busy.

use super::Endpoint;
use crate::{Code, Error, Result, interrupt};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A reply may take this long.
const TIMEOUT: Duration = Duration::from_secs(300);
/// A question is asked at most this often.
const TRIES: u32 = 6;
/// The server's own wish to wait is heard up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A judge that can be asked.
pub struct Client {
    agent: ureq::Agent,
    url: String,
    model: String,
    key: Option<String>,
    key_env: String,
    /// Before the second try; doubled before each further one.
    pub(super) wait: Duration,
}

/// How a try ended that gave no reply.
enum Failed {
    /// It may go better later, perhaps after the time that the server names.
    Later(Error, Option<Duration>),
    Final(Error),
}

impl Client {
    /// Takes the address; nothing is contacted yet.
    pub fn new(endpoint: &Endpoint<'_>) -> Result<Self> {
        let url = endpoint.url.trim_end_matches('/');
        if !(url.starts_with("http://") || url.starts_with("https://")) {
            return Err(Error::new(Code::EvalJudge, format!("`{}` is not an address of a judge", endpoint.url))
                .hint("give the API's address, as in --judge https://api.openai.com/v1"));
        }
        let agent = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false).build();
        Ok(Self {
            agent: agent.new_agent(),
            url: format!("{}/chat/completions", url.trim_end_matches("/chat/completions")),
            model: endpoint.model.to_owned(),
            key: endpoint.key.clone(),
            key_env: endpoint.key_env.to_owned(),
            wait: Duration::from_secs(1),
        })
    }

    /// The judge's reply; tries again while the server is busy or fails.
    pub fn ask(&self, system: &str, user: &str) -> Result<String> {
        let messages = json!([{"role": "system", "content": system}, {"role": "user", "content": user}]);
        let body = json!({"model": self.model, "messages": messages, "temperature": 0, "max_tokens": 2048}).to_string();
        let (mut wait, mut tries) = (self.wait, 1);
        loop {
            match self.post(&body) {
                Ok(reply) => return Ok(reply),
                Err(Failed::Later(e, named)) if tries < TRIES => {
                    let pause = named.unwrap_or(wait).min(LONGEST_WAIT);
                    tracing::warn!("{e:#}; asking again in {:.1} s", pause.as_secs_f64());
                    rest(pause)?;
                    (wait, tries) = (2 * wait, tries + 1);
                }
                Err(Failed::Later(e, _) | Failed::Final(e)) => return Err(e),
            }
        }
    }

    fn post(&self, body: &str) -> Result<String, Failed> {
        let mut request = self.agent.post(&self.url).header("Content-Type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let mut response = request.send(body).map_err(|e| self.unreachable(e))?;
        let status = response.status().as_u16();
        let named = response.headers().get("retry-after").and_then(|v| v.to_str().ok()?.parse().ok());
        let text = response.body_mut().read_to_string().map_err(|e| self.unreachable(e))?;
        if status != 200 {
            let e = self.error(format!("answered with status {status}: {}", self.shown(&text)));
            return Err(match status {
                408 | 429 | 500..=599 => Failed::Later(e, named.map(Duration::from_secs)),
                401 | 403 => Failed::Final(e.hint(format!("put a key of this API into the variable {}", self.key_env))),
                _ => Failed::Final(e.hint("check --judge and --judge-model")),
            });
        }
        let reply: Option<Value> = serde_json::from_str(&text).ok();
        let reply = reply.as_ref().and_then(|r| r["choices"][0]["message"]["content"].as_str()).map(str::to_owned);
        reply.ok_or_else(|| {
            let e = self.error(format!("sent no chat completion: {}", self.shown(&text)));
            Failed::Final(e.hint("check that --judge is the address of an OpenAI-compatible API"))
        })
    }

    fn unreachable(&self, e: ureq::Error) -> Failed {
        let late = matches!(e, ureq::Error::Timeout(_));
        let e = self.error("cannot be reached".into()).caused_by(e).hint("check --judge, and that the server runs");
        if late { Failed::Later(e, None) } else { Failed::Final(e) }
    }

    fn error(&self, what: String) -> Error {
        Error::new(Code::EvalJudge, format!("the judge at {} {what}", self.url))
    }

    /// The beginning of what a server said. Some repeat the key.
    fn shown(&self, text: &str) -> String {
        let text = match &self.key {
            Some(key) if !key.is_empty() => text.replace(key.as_str(), "[key]"),
            _ => text.to_owned(),
        };
        text.trim().chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

/// Sleeps, but not through an interrupt.
fn rest(pause: Duration) -> Result<()> {
    let end = Instant::now() + pause;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        interrupt::check()?;
        std::thread::sleep(left.min(Duration::from_millis(100)));
    }
    interrupt::check()
}
