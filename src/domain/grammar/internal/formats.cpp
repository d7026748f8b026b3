#include "domain/grammar/internal/formats.h"

namespace pensieve::grammar::internal {
namespace {

// RFC 3339, 5.6, years from 1000; the 29th of February is left out, whatever the year.
constexpr std::string_view kDate =
    R"([1-9]\d{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|)"
    R"(02-(?:0[1-9]|1\d|2[0-8])))";
constexpr std::string_view kTime =
    R"((?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d))";
// RFC 3339, appendix A: a unit may be followed by the next smaller one only.
constexpr std::string_view kDuration =
    R"(P(?:\d{1,4}W|(?:\d{1,4}Y(?:\d{1,2}M(?:\d{1,2}D)?)?|\d{1,2}M(?:\d{1,2}D)?|\d{1,4}D))"
    R"((?:T(?:\d{1,4}H(?:\d{1,2}M(?:\d{1,2}S)?)?|\d{1,4}M(?:\d{1,2}S)?|\d{1,5}S))?|)"
    R"(T(?:\d{1,4}H(?:\d{1,2}M(?:\d{1,2}S)?)?|\d{1,4}M(?:\d{1,2}S)?|\d{1,5}S)))";
constexpr std::string_view kUuid =
    R"([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})";
// RFC 1123, 2.1. Labels are kept short, so that six of them stay below 253 characters.
constexpr std::string_view kLabel = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,20}[a-zA-Z0-9])?";
constexpr std::string_view kIpv4 =
    R"((?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d))";
// RFC 6901.
constexpr std::string_view kPointer = "(?:/(?:[^/~]|~[01])*)*";

std::string hostname() {
  return std::string(kLabel) + R"((?:\.)" + std::string(kLabel) + "){0,5}";
}

std::string email() {
  // RFC 5321, 4.1.2, dot-string.
  return R"([a-zA-Z0-9_+-]{1,20}(?:\.[a-zA-Z0-9_+-]{1,20}){0,2}@)" + std::string(kLabel) +
         R"((?:\.)" + std::string(kLabel) + "){1,5}";
}

// RFC 4291, 2.2: eight groups, or fewer with one "::".
std::string ipv6() {
  const std::string group = "[0-9a-fA-F]{1,4}";
  std::string out = "(?:" + group + "(?::" + group + "){7}";
  const std::string more = "(?::" + group + "){";
  for (int left = 0; left <= 6; ++left) {
    out += '|';
    if (left > 0) out.append(group).append(more).append(std::to_string(left - 1)).append("}");
    out.append("::(?:").append(group).append(more).append("0,");
    out.append(std::to_string(6 - left)).append("})?");
  }
  return out + ")";
}

// RFC 3986.
constexpr std::string_view kPathCharacter = R"((?:[a-zA-Z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2}))";
constexpr std::string_view kSegmentStart = R"((?:[a-zA-Z0-9._~!$&'()*+,;=@-]|%[0-9A-Fa-f]{2}))";

std::string query_and_fragment() {
  const std::string one = std::string(kPathCharacter);
  return "(?:[?](?:" + one + "|[?])*)?(?:#(?:" + one + "|[?])*)?";
}

std::string uri() {
  const std::string path = std::string(kPathCharacter) + "*", start(kSegmentStart);
  return "[a-zA-Z][a-zA-Z0-9+.-]{0,19}:(?://(?:" + hostname() + R"((?::\d{1,5})?(?:/)" + path +
         ")?|/" + start + path + ")|/?" + start + path + ")" + query_and_fragment();
}

std::string uri_reference() {
  return "(?:" + uri() + "|(?:/" + std::string(kSegmentStart) + std::string(kPathCharacter) +
         "*|[a-zA-Z0-9._~-]+(?:/" + std::string(kPathCharacter) + "*)?)" + query_and_fragment() +
         ")";
}

}  // namespace

std::string format_expression(std::string_view name) {
  const auto anchored = [](std::string_view inner) { return "^(?:" + std::string(inner) + ")$"; };
  if (name == "date") return anchored(kDate);
  if (name == "time") return anchored(kTime);
  if (name == "date-time") return anchored(std::string(kDate) + "T" + std::string(kTime));
  if (name == "duration") return anchored(kDuration);
  if (name == "uuid") return anchored(kUuid);
  if (name == "email" || name == "idn-email") return anchored(email());
  if (name == "hostname" || name == "idn-hostname") return anchored(hostname());
  if (name == "ipv4") return anchored(kIpv4);
  if (name == "ipv6") return anchored(ipv6());
  if (name == "uri" || name == "iri") return anchored(uri());
  if (name == "uri-reference" || name == "iri-reference") return anchored(uri_reference());
  if (name == "json-pointer") return anchored(kPointer);
  if (name == "relative-json-pointer")
    return anchored(R"((?:0|[1-9]\d{0,3})(?:#|)" + std::string(kPointer) + ")");
  return {};
}

}  // namespace pensieve::grammar::internal
