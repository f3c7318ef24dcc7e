//! The judge against a local stand-in: nothing outside this machine is asked.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::eval::mt_bench::{Choice, tests::QUESTIONS};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::PathBuf,
    sync::mpsc,
    time::Duration,
};

const KEY: &str = "secret-key-1234";

/// A request as the server saw it.
struct Seen {
    path: String,
    authorization: Option<String>,
    body: Value,
}

/// Serves one reply after the other, a connection each; returns its address and what it was asked.
fn serve(replies: Vec<(u16, String)>) -> (String, mpsc::Receiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (seen, asked) = mpsc::channel();
    std::thread::spawn(move || {
        for (status, reply) in replies {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = vec![];
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if line.trim().is_empty() {
                    break;
                }
                head.push(line.trim().to_owned());
            }
            let header = |name: &str| {
                head.iter().find_map(|l| l.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|h| h.1))
            };
            let mut body = vec![0; header("content-length").unwrap().parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            let authorization = header("authorization").map(str::to_owned);
            let path = head[0].clone();
            seen.send(Seen { path, authorization, body: serde_json::from_slice(&body).unwrap() }).unwrap();
            let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", reply.len());
            stream.write_all((head + &reply).as_bytes()).unwrap();
        }
    });
    (url, asked)
}

fn says(text: &str) -> (u16, String) {
    (200, json!({"choices": [{"message": {"role": "assistant", "content": text}}]}).to_string())
}

fn endpoint<'a>(url: &'a str, key: Option<&str>) -> Endpoint<'a> {
    Endpoint { url, model: "stand/in", key: key.map(str::to_owned), key_env: "JUDGE_KEY" }
}

fn judge(url: &str, key: Option<&str>) -> Judge {
    Judge::new(&endpoint(url, key)).unwrap()
}

/// Questions and a model's answers in a directory.
fn answers(dir: &Path) -> (Questions, PathBuf) {
    let file = dir.join("questions.jsonl");
    fs::write(&file, QUESTIONS).unwrap();
    let questions = Questions::read(&file).unwrap();
    let lines = questions.rows.iter().map(|q| {
        let turns = (0..q.turns.len()).map(|t| format!("reply {t} to {}", q.question_id)).collect();
        let answer_id = format!("a{}", q.question_id);
        let choices = vec![Choice { index: 0, turns }];
        let answer = Answer { question_id: q.question_id, answer_id, model_id: "tiny".into(), choices, tstamp: 0.0 };
        serde_json::to_string(&answer).unwrap() + "\n"
    });
    let path = dir.join("answers.jsonl");
    fs::write(&path, lines.collect::<String>()).unwrap();
    (questions, path)
}

#[test]
fn every_turn_is_graded_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (questions, path) = answers(dir.path());
    let replies = ["Fine. [[8]]", "[[6]]", "no rating", "Rating: [[10]]", "[[3]]"];
    let (url, asked) = serve(replies.map(says).into());
    let out = dir.path().join("out");
    let grades = judge(&url, Some(KEY)).grade(&questions, &path, "tiny", &out).unwrap();
    let mean = |score: f64, replies| Mean { score, replies };
    assert_eq!((grades.all, grades.unrated), (mean(6.75, 4), 1));
    assert_eq!(grades.turns, [mean(5.5, 2), mean(8.0, 2)]);
    assert_eq!(grades.categories["writing"], mean(7.0, 2));
    assert_eq!(grades.categories["math"], mean(10.0, 1));

    let seen: Vec<Seen> = asked.try_iter().collect();
    assert!(seen.iter().all(|s| s.path == "POST /v1/chat/completions HTTP/1.1"));
    assert!(seen.iter().all(|s| s.authorization.as_deref() == Some("Bearer secret-key-1234")));
    assert!(seen.iter().all(|s| s.body["model"] == "stand/in" && s.body["temperature"] == 0));
    let prompt = |i: usize| seen[i].body["messages"][1]["content"].as_str().unwrap();
    assert!(prompt(0).contains("Reverse loper.") && !prompt(0).contains("Say it two times."));
    assert!(prompt(1).contains("reply 0 to 81") && prompt(1).contains("reply 1 to 81"));
    assert!(prompt(3).contains("RAKUB") && !prompt(3).contains("\nBUKAR\n"));

    // All is there: the server is gone, and nobody asks for it.
    let file = out.join("model_judgment/stand_in_single.jsonl");
    let lines: Vec<Grade> = files::read_lines(&file).unwrap().map(|l| l.unwrap()).collect();
    assert_eq!(lines.iter().map(|g| g.score).collect::<Vec<_>>(), [8.0, 6.0, -1.0, 10.0, 3.0]);
    assert_eq!(judge(&url, None).grade(&questions, &path, "tiny", &out).unwrap(), grades);
    assert!(!fs::read_to_string(&file).unwrap().contains(KEY));
    // The file is made again from the journal; of that one line is lost and one damaged, and two are asked for.
    fs::write(&file, "").unwrap();
    assert_eq!(judge(&url, None).grade(&questions, &path, "tiny", &out).unwrap(), grades);
    assert_eq!(files::read_lines::<Grade>(&file).unwrap().count(), 5);
    let journal = out.join("judge.partial.jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, text.lines().take(4).map(|l| format!("{}\n", l.replace("10.0", "11.0"))).collect::<String>())
        .unwrap();
    let (url, asked) = serve(vec![says("[[10]]"), says("[[5]]")]);
    let again = judge(&url, None).grade(&questions, &path, "tiny", &out).unwrap();
    assert_eq!((again.all, asked.try_iter().count()), (mean(7.25, 4), 2));
}

fn client(url: &str) -> Client {
    let mut client = Client::new(&endpoint(url, Some(KEY))).unwrap();
    client.wait = Duration::from_millis(1);
    client
}

#[test]
fn a_busy_server_is_asked_again() {
    let (url, asked) = serve(vec![(429, "slow down".into()), (503, String::new()), says("[[4]]")]);
    assert_eq!(client(&url).ask("s", "u").unwrap(), "[[4]]");
    assert_eq!(asked.try_iter().count(), 3);
    let (url, asked) = serve(vec![(429, "slow down".into()); 6]);
    let e = client(&url).ask("s", "u").unwrap_err();
    assert!(e.message().contains("status 429: slow down"), "{e}");
    assert_eq!(asked.try_iter().count(), 6);
}

#[test]
fn a_refusal_is_final_and_hides_the_key() {
    let (url, asked) = serve(vec![(401, format!("{{\"error\": \"wrong key {KEY}\"}}"))]);
    let e = client(&url).ask("s", "u").unwrap_err();
    assert!(e.message().contains("wrong key [key]") && !format!("{e:#}").contains(KEY), "{e}");
    assert!(e.hint_text().unwrap().contains("JUDGE_KEY"));
    assert_eq!(asked.try_iter().count(), 1);
    let (url, _asked) = serve(vec![(200, "<html>".into())]);
    let e = client(&url).ask("s", "u").unwrap_err();
    assert!(e.message().contains("sent no chat completion: <html>"), "{e}");
}

#[test]
fn a_server_that_is_not_there_is_said() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let e = client(&format!("http://{closed}/v1")).ask("s", "u").unwrap_err();
    assert!(e.message().contains("cannot be reached"), "{e}");
    assert!(e.hint_text().unwrap().contains("--judge"));
    assert_eq!(Client::new(&endpoint("localhost:8000", None)).err().unwrap().code(), Code::EvalJudge);
}

#[test]
fn answers_to_other_questions_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (questions, path) = answers(dir.path());
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.lines().skip(1).map(|l| format!("{l}\n")).collect::<String>()).unwrap();
    let (url, _asked) = serve(vec![]);
    let e = judge(&url, None).grade(&questions, &path, "tiny", &dir.path().join("out")).unwrap_err();
    assert!(e.message().contains("no answer to every turn of question 81"), "{e}");
}
