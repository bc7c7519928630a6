#include "capture/event_texts.hpp"

#include "capture/parameters.hpp"
#include "capture/plan.hpp"
#include "core/claims.hpp"
#include "core/error_text.hpp"
#include "core/sql_text.hpp"
#include "pg/settings.hpp"

extern "C" {
#include "common/ip.h"
}

namespace train_perf {

namespace {

constexpr Size kMaxTags = 2048;
constexpr Size kMaxRequestText = 1024;
constexpr Size kMaxMessage = 2048;
constexpr Size kMaxContext = 4096;
constexpr Size kErrorReserve = 65536;

MemoryContext error_context = nullptr;

// The longest beginning of the text that fits and ends at a character boundary.
std::string_view Clip(std::string_view text, Size limit) noexcept {
  if (text.size() <= limit) return text;
  const int length =
      pg_mbcliplen(text.data(), static_cast<int>(limit) + 1, static_cast<int>(limit));
  return text.substr(0, static_cast<size_t>(length));
}

std::string_view& At(EventTexts* texts, EventField field) noexcept {
  return (*texts)[static_cast<size_t>(field)];
}

// A buffer that also has room for the look of pg_mbcliplen behind its end.
template <Size kSize>
struct Buffer {
  char bytes[kSize + 8];
  char* data() noexcept { return bytes; }
  std::string_view Clipped(Size length, bool truncated) noexcept {
    if (!truncated) return {bytes, length};
    return {bytes, static_cast<size_t>(
                       pg_mbcliplen(bytes, static_cast<int>(length), static_cast<int>(length)))};
  }
};

std::string_view Setting(const char* name) noexcept {
  const char* value = GetConfigOption(name, true, false);
  return value != nullptr ? std::string_view(value) : std::string_view();
}

std::string_view Trim(std::string_view text) noexcept {
  const char* space = " \t\r\n\f\v;";
  const size_t first = text.find_first_not_of(space);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(space) - first + 1);
}

// Tags of the client's statement, if this one runs inside it, and then of its own, which count
// more.
std::string_view CollectTags(const StatementSource& source) noexcept {
  static char tags[kMaxTags];
  Size length = 0;
  const auto add = [&](const StatementSource& from) {
    if (from.text == nullptr) return;
    // The server's idea of where a statement begins may leave out the comments before it.
    const std::string_view text =
        StatementAt(from.text, static_cast<size_t>(Max(from.location, 0)));
    const Size separator = length > 0 ? 1 : 0;
    if (length + separator >= kMaxTags) return;
    const Size added =
        CopyTagComments(text, tags + length + separator, kMaxTags - length - separator);
    if (added == 0) return;
    if (separator > 0) tags[length] = ',';
    length += separator + added;
  };
  const StatementSource* client = ClientSource();
  if (client != nullptr && client->text != source.text) add(*client);
  add(source);
  return {tags, length};
}

// Sets text, hash and tags; says whether values of this statement may be shown at all.
bool CollectQuery(const Statement& statement, EventTexts* texts, Md5Digest* hash) noexcept {
  static Buffer<kMaxStatementText> text;
  const std::string_view sql = statement.source.View();
  At(texts, EventField::kTags) = CollectTags(statement.source);
  if (sql.empty()) {  // its memory is gone: what the table knows
    const int length = statements->FindText(statement.key, text.data(), hash);
    At(texts, EventField::kQuery) = {text.data(), static_cast<size_t>(Max(length, 0))};
    return false;
  }
  const NormalizedSql normalized = NormalizeSql(sql, text.data(), kMaxStatementText);
  *hash = normalized.hash;
  const bool secret = normalized.mentions_secret || MentionsSecret(sql);
  At(texts, EventField::kQuery) = settings::log_literal_text && !statement.utility && !secret
                                      ? Clip(Trim(sql), kMaxStatementText)
                                      : text.Clipped(normalized.length, normalized.truncated);
  return !secret;
}

// The address of the client, numeric, without an IPv6 zone; empty over a local socket.
std::string_view ClientAddress() noexcept {
  static char address[NI_MAXHOST];
  static int known_for = 0;
  if (known_for != MyProcPid) {
    known_for = MyProcPid;
    address[0] = '\0';
    const SockAddr* client = MyBEEntry != nullptr ? &MyBEEntry->st_clientaddr : nullptr;
    const bool remote = client != nullptr &&
                        (client->addr.ss_family == AF_INET || client->addr.ss_family == AF_INET6);
    if (remote &&
        pg_getnameinfo_all(&client->addr, static_cast<int>(client->salen), address, sizeof(address),
                           nullptr, 0, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
      address[0] = '\0';
    if (char* zone = strchr(address, '%')) *zone = '\0';
  }
  return address;
}

// PostgREST passes the claims as a whole, or (older ones) each in a setting of its own.
std::string_view RequestUser() noexcept {
  const std::string_view subject = FindSubject(Setting("request.jwt.claims"));
  if (!subject.empty()) return subject;
  const std::string_view legacy = Setting("request.jwt.claim.sub");
  return IsUuid(legacy) ? legacy : std::string_view();
}

void CollectRequest(EventTexts* texts) noexcept {
  At(texts, EventField::kMethod) = Clip(Setting("request.method"), kMaxRequestText);
  At(texts, EventField::kPath) = Clip(Setting("request.path"), kMaxRequestText);
  At(texts, EventField::kUser) = RequestUser();
  if (application_name != nullptr) At(texts, EventField::kApplication) = application_name;
  At(texts, EventField::kClient) = ClientAddress();
}

// Their messages quote what they complain about.
bool QuotesValues(int sqlstate) noexcept {
  return ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_DATA_EXCEPTION ||
         sqlstate == ERRCODE_SYNTAX_ERROR;
}

void CollectError(const Statement& statement, const ErrorData& error, bool secret,
                  EventTexts* texts) noexcept {
  static Buffer<kMaxMessage> message;
  static Buffer<kMaxContext> context;
  const std::string_view said = error.message != nullptr ? error.message : "";
  const std::string_view where = error.context != nullptr ? error.context : "";
  const bool literal =
      settings::log_literal_text && !secret && !MentionsSecret(said) && !MentionsSecret(where);
  if (literal) {
    At(texts, EventField::kError) = Clip(said, kMaxMessage);
    At(texts, EventField::kContext) = Clip(where, kMaxContext);
    return;
  }
  // A syntax error in a statement with a secret may quote it, as if it were a word of the
  // statement.
  const bool may_quote_secret = secret && error.sqlerrcode == ERRCODE_SYNTAX_ERROR;
  const std::string_view known = may_quote_secret ? std::string_view() : statement.source.View();
  Size length =
      MaskErrorMessage(said, known, QuotesValues(error.sqlerrcode), message.data(), kMaxMessage);
  At(texts, EventField::kError) = message.Clipped(length, length == kMaxMessage);
  length = MaskErrorContext(where, context.data(), kMaxContext);
  At(texts, EventField::kContext) = context.Clipped(length, length == kMaxContext);
}

}  // namespace

void CollectEventTexts(const Statement& statement, const Outcome& outcome, EventTexts* texts,
                       Md5Digest* hash) {
  const bool shows_values = CollectQuery(statement, texts, hash);
  CollectRequest(texts);
  if (outcome.error != nullptr) CollectError(statement, *outcome.error, !shows_values, texts);
  if (shows_values && settings::log_parameters) {
    At(texts, EventField::kParameters) =
        ParametersAsJson(outcome.params, outcome.execution.sqlstate != 0);
  }
  if (shows_values && settings::log_plan && outcome.query != nullptr &&
      outcome.execution.sqlstate == 0) {
    At(texts, EventField::kPlan) = PlanAsJson(outcome.query);
  }
}

void ReserveErrorMemory() {
  ReserveParameterMemory();
  // Its first block is there before any error, so copying a usual error cannot run out of memory.
  error_context = AllocSetContextCreate(TopMemoryContext, "train_perf error", kErrorReserve,
                                        kErrorReserve, ALLOCSET_DEFAULT_MAXSIZE);
}

const ErrorData* CurrentError() {
  MemoryContextSwitchTo(error_context);
  return CopyErrorData();
}

void ReleaseError() noexcept { MemoryContextReset(error_context); }

}  // namespace train_perf
