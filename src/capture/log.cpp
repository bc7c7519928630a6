#include "capture/log.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string>

#include "capture/capture.hpp"
#include "core/tags.hpp"
#include "pg/boundary.hpp"

namespace train_perf {

namespace log_batch {

int size = 0;

namespace {
uint32 delivered = 0;
}  // namespace

void Done() noexcept {
  events->Remove(MyDatabaseId, delivered);
  delivered = 0;
}

}  // namespace log_batch

namespace {

constexpr int kColumns = 22;

// One row as text, in the order of the SQL function's columns.
class Row {
 public:
  void Null() { ++column_; }
  void Text(std::string value) { values_[column_++] = std::move(value); }
  void TextOrNull(std::string value) { value.empty() ? Null() : Text(std::move(value)); }
  void Number(uint64 value) { Text(std::to_string(value)); }

  // As the type of each column reads it.
  void Put(ReturnSetInfo* result, AttInMetadata* types) {
    std::array<char*, kColumns> fields{};
    for (size_t i = 0; i < kColumns; ++i) fields[i] = values_[i] ? values_[i]->data() : nullptr;
    CallPg([&] {
      HeapTuple tuple = BuildTupleFromCStrings(types, fields.data());
      tuplestore_puttuple(result->setResult, tuple);
      heap_freetuple(tuple);
    });
  }

 private:
  size_t column_ = 0;
  std::array<std::optional<std::string>, kColumns> values_;
};

bool IsValidText(std::string_view text) noexcept {
  return pg_verify_mbstr(GetDatabaseEncoding(), text.data(), static_cast<int>(text.size()), true);
}

// Settings that came with the connection were not checked by the server, and masking may have cut a
// character: what is no text of this database is shown as ?.
std::string Valid(const QueuedEvent& event, EventField field) {
  std::string text = event.text(field);
  if (IsValidText(text)) return text;
  std::replace_if(
      text.begin(), text.end(), [](char c) { return IS_HIGHBIT_SET(c) || c == 0; }, '?');
  return text;
}

// What URL-decoding may have made of a tag is not always text of this database.
Tags ValidTags(const QueuedEvent& event) {
  Tags tags = ParseTags(event.text(EventField::kTags));
  std::erase_if(
      tags, [](const auto& tag) { return !IsValidText(tag.first) || !IsValidText(tag.second); });
  return tags;
}

void AppendJsonString(std::string* json, std::string_view text) {
  *json += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      *json += '\\';
      *json += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      std::array<char, 8> code{};
      snprintf(code.data(), code.size(), "\\u%04x", static_cast<unsigned char>(c));
      *json += code.data();
    } else {
      *json += c;
    }
  }
  *json += '"';
}

std::string TagsAsJson(const Tags& tags) {
  std::string json;
  for (const auto& [key, value] : tags) {
    if (key == "traceparent") continue;
    json += json.empty() ? "{" : ", ";
    AppendJsonString(&json, key);
    json += ": ";
    AppendJsonString(&json, value);
  }
  return json.empty() ? json : json + "}";
}

std::string Endpoint(const QueuedEvent& event, const Tags& tags) {
  std::string endpoint = EndpointOf(tags);
  const std::string path = Valid(event, EventField::kPath);
  if (!endpoint.empty() || path.empty()) return endpoint;
  const std::string method = Valid(event, EventField::kMethod);
  return (method.empty() ? "" : method + " ") + path;
}

std::string TextOf(PGFunction output, Datum value) {
  return CallPg([&] { return DatumGetCString(DirectFunctionCall1(output, value)); });
}

std::string UserName(Oid user) {
  const char* name = CallPg([&] { return GetUserNameFromId(user, true); });
  return name != nullptr ? name : "";
}

void PutError(const QueuedEvent& event, Row* row) {
  if (event.header.sqlstate == 0) {
    row->Null();
    row->Null();
    return;
  }
  const std::string message = Valid(event, EventField::kError);
  row->Text(message.empty() ? "error" : message);
  row->TextOrNull(Valid(event, EventField::kContext));
}

void PutUsage(const EventHeader& header, Row* row) {
  if (!header.has_rows) {
    row->Null();
  } else {
    row->Number(header.rows);
  }
  row->Number(header.blocks_hit);
  row->Number(header.blocks_read);
  row->Number(header.temp_written);
  row->Number(header.wal_bytes);
}

Row RowOf(const QueuedEvent& event) {
  const EventHeader& header = event.header;
  const Tags tags = ValidTags(event);
  Row row;
  row.Text(Valid(event, EventField::kQuery));
  row.Text(Md5Hex(header.hash).data());
  row.Number(header.duration_ns / 1000);
  row.Text(TextOf(timestamptz_out, TimestampTzGetDatum(header.finished)));
  row.TextOrNull(Valid(event, EventField::kUser));
  row.TextOrNull(Endpoint(event, tags));
  row.TextOrNull(Valid(event, EventField::kParameters));
  PutError(event, &row);
  row.Text(std::to_string(header.query_id));
  row.TextOrNull(UserName(header.user));
  row.TextOrNull(Valid(event, EventField::kApplication));
  row.TextOrNull(Valid(event, EventField::kClient));
  row.TextOrNull(header.sqlstate != 0 ? unpack_sql_state(header.sqlstate) : "");
  PutUsage(header, &row);
  row.TextOrNull(TraceIdOf(FindTag(tags, "traceparent")));
  row.TextOrNull(TagsAsJson(tags));
  row.TextOrNull(Valid(event, EventField::kPlan));
  return row;
}

}  // namespace

void FillQueuedEvents(ReturnSetInfo* result) {
  if (log_batch::size == 0) {
    CallPg([] {
      ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                      errmsg("only the train_perf collector may take queued events")));
    });
  }
  const auto batch = events->Peek(MyDatabaseId, static_cast<uint32>(log_batch::size));
  AttInMetadata* types = CallPg([&] { return TupleDescGetAttInMetadata(result->setDesc); });
  for (const QueuedEvent& event : batch) RowOf(event).Put(result, types);
  log_batch::delivered = static_cast<uint32>(batch.size());
}

}  // namespace train_perf
