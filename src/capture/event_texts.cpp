#include "capture/event_texts.hpp"

#include "capture/parameters.hpp"
#include "capture/plan.hpp"
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
constexpr Size kMaxClaims = 8192;
constexpr Size kMaxMessage = 2048;
constexpr Size kMaxContext = 4096;
constexpr Size kErrorReserve = 16384;

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

// Sets text, hash and tags; says whether values of this statement may be shown at all.
bool CollectQuery(const Statement& statement, EventTexts* texts, Md5Digest* hash) noexcept {
  static Buffer<kMaxStatementText> text;
  static Buffer<kMaxTags> tags;
  const std::string_view sql = statement.source.View();
  if (sql.empty()) {  // its memory is gone: what the table knows
    const int length = statements->FindText(statement.key, text.data(), hash);
    At(texts, EventField::kQuery) = {text.data(), static_cast<size_t>(Max(length, 0))};
    return false;
  }
  const NormalizedSql normalized = NormalizeSql(sql, text.data(), kMaxStatementText);
  *hash = normalized.hash;
  const bool literal =
      settings::log_literal_text && !statement.utility && !normalized.mentions_secret;
  At(texts, EventField::kQuery) = literal ? Clip(Trim(sql), kMaxStatementText)
                                          : text.Clipped(normalized.length, normalized.truncated);
  At(texts, EventField::kTags) = {tags.data(), CopyTagComments(sql, tags.data(), kMaxTags)};
  return !normalized.mentions_secret;
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

void CollectRequest(EventTexts* texts) noexcept {
  At(texts, EventField::kMethod) = Clip(Setting("request.method"), kMaxRequestText);
  At(texts, EventField::kPath) = Clip(Setting("request.path"), kMaxRequestText);
  At(texts, EventField::kClaims) = Clip(Setting("request.jwt.claims"), kMaxClaims);
  At(texts, EventField::kSubject) = Clip(Setting("request.jwt.claim.sub"), kMaxRequestText);
  if (application_name != nullptr) At(texts, EventField::kApplication) = application_name;
  At(texts, EventField::kClient) = ClientAddress();
}

bool IsDataException(int sqlstate) noexcept {
  return ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_DATA_EXCEPTION;
}

void CollectError(const Statement& statement, const ErrorData& error, bool literal,
                  EventTexts* texts) noexcept {
  static Buffer<kMaxMessage> message;
  static Buffer<kMaxContext> context;
  const std::string_view said = error.message != nullptr ? error.message : "";
  const std::string_view where = error.context != nullptr ? error.context : "";
  if (literal) {
    At(texts, EventField::kError) = Clip(said, kMaxMessage);
    At(texts, EventField::kContext) = Clip(where, kMaxContext);
    return;
  }
  Size length = MaskErrorMessage(said, statement.source.View(), IsDataException(error.sqlerrcode),
                                 message.data(), kMaxMessage);
  At(texts, EventField::kError) = message.Clipped(length, length == kMaxMessage);
  length = MaskErrorContext(where, context.data(), kMaxContext);
  At(texts, EventField::kContext) = context.Clipped(length, length == kMaxContext);
}

}  // namespace

void CollectEventTexts(const Statement& statement, const Outcome& outcome, EventTexts* texts,
                       Md5Digest* hash) {
  const bool shows_values = CollectQuery(statement, texts, hash);
  CollectRequest(texts);
  if (outcome.error != nullptr)
    CollectError(statement, *outcome.error, shows_values && settings::log_literal_text, texts);
  if (shows_values && settings::log_parameters)
    At(texts, EventField::kParameters) = ParametersAsJson(outcome.params);
  if (settings::log_plan && outcome.query != nullptr && outcome.execution.sqlstate == 0)
    At(texts, EventField::kPlan) = PlanAsJson(outcome.query);
}

void ReserveErrorMemory() {
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
