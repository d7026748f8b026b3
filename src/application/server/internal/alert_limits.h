// From where on something is worth an alert, and why from there. All of it is looked at over
// kLongWindow; how much has to be known before it is judged stands beside it.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>

namespace pensieve::server {

// For info, warning and critical, in this order.
using Limits = std::array<double, 3>;

// 95th percentile of the time to the first token, in seconds. After 10 s attention is gone
// (Nielsen, Usability Engineering, 5.5). A minute is what a cold prompt of Claude Code takes on a
// good laptop: more, for one request in twenty, means that prompts are not remembered or the
// machine is busy. Clients wait 10 minutes for an answer; half of that is close.
inline constexpr Limits kFirstTokenS{10, 60, 300};
inline constexpr int kLeastFirstTokens = 3;

// Tokens per second of one answer, less is worse. People read 4 to 5 words a second, about 6
// tokens; below 2 a tool call of a hundred tokens takes a minute; at 0.5 weights are being read
// from the disk again for each token.
inline constexpr Limits kDecodeTokensPerS{6, 2, 0.5};
inline constexpr std::uint64_t kLeastDecodedTokens = 32;

// Failed requests of the answered and failed ones. One in a hundred is above what a healthy server
// shows, one in twenty breaks a tool loop now and then, one in four any of them.
inline constexpr Limits kErrorRate{0.01, 0.05, 0.25};
inline constexpr int kLeastFailed = 3;  // one is an event, two a coincidence

// Memory follows its own levels (foundation/system_memory.h): caution is info, warning is warning,
// critical and emergency are critical.

// An alert goes up at once. It goes down when the value has been better than the limit by this
// factor for this long, so that a value near a limit does not make it flap.
inline constexpr double kBetterBy = 0.8;
inline constexpr std::chrono::seconds kBetterFor{30};

}  // namespace pensieve::server
