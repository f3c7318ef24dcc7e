//! Keys of rows and of their messages that say where something comes from or how good it is, and nothing that a model
//! has to learn from it.

/// Of rows and of messages.
const ANYWHERE: [&str; 12] = [
    "id",
    "index",
    "message_id",
    "source",
    "timestamp",
    "created_at",
    "date",
    "lang",
    "language",
    "model",
    "score",
    "metadata",
];

/// Of messages: a chat template that does not read them loses nothing.
const OF_MESSAGES: [&str; 3] = ["name", "tool_call_id", "parent_id"];

/// Of rows.
const OF_ROWS: [&str; 77] = [
    "_id",
    "idx",
    "uid",
    "uuid",
    "guid",
    "row_id",
    "prompt_id",
    "question_id",
    "conversation_id",
    "thread_id",
    "hash",
    "sources",
    "origin",
    "dataset",
    "dataset_name",
    "data_source",
    "subset",
    "split",
    "config",
    "url",
    "license",
    "updated_at",
    "year",
    "author",
    "user_id",
    "category",
    "categories",
    "topic",
    "topics",
    "domain",
    "subject",
    "task",
    "task_type",
    "task_name",
    "tag",
    "tags",
    "locale",
    "models",
    "model_name",
    "generator",
    "chosen_model",
    "rejected_model",
    "scores",
    "score_chosen",
    "score_rejected",
    "chosen_score",
    "rejected_score",
    "chosen_rating",
    "rejected_rating",
    "chosen-rating",
    "rejected-rating",
    "rating_chosen",
    "rating_rejected",
    "chosen-model",
    "rejected-model",
    "original_response",
    "generation_prompt",
    "raw_generation_responses",
    "new_generations",
    "original_question",
    "title",
    "views",
    "avatarUrl",
    "skip_prompt_formatting",
    "helpfulness",
    "correctness",
    "type",
    "rating",
    "ratings",
    "reward",
    "rewards",
    "quality",
    "difficulty",
    "length",
    "num_tokens",
    "num_turns",
    "meta",
];

/// Whether a row loses nothing without a key.
pub fn harmless_in_row(key: &str) -> bool {
    ANYWHERE.contains(&key) || OF_ROWS.contains(&key)
}

/// Whether a message loses nothing without a key.
pub fn harmless_in_message(key: &str) -> bool {
    ANYWHERE.contains(&key) || OF_MESSAGES.contains(&key)
}
