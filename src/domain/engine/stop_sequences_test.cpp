// The filter against a slow, obvious model that looks at every end of the whole text, with the text
// cut at every place and at random places.
#include "domain/engine/stop_sequences.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace pensieve::engine {
namespace {

struct Outcome {
  std::string text;
  std::optional<std::size_t> matched;
  bool operator==(const Outcome&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Outcome& outcome) {
  return out << '"' << outcome.text << "\", match "
             << (outcome.matched ? std::to_string(*outcome.matched) : "none");
}

Outcome model(const std::string& text, const std::vector<std::string>& sequences) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    Outcome found;
    std::size_t longest = 0;
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      const std::string& sequence = sequences[i];
      if (sequence.size() <= longest || sequence.size() > end) continue;
      if (text.compare(end - sequence.size(), sequence.size(), sequence) != 0) continue;
      longest = sequence.size();
      found = {text.substr(0, end - longest), i};
    }
    if (found.matched) return found;
  }
  return {text, std::nullopt};
}

Outcome run(const std::vector<std::string>& pieces, const std::vector<std::string>& sequences) {
  StopSequenceFilter filter(sequences);
  Outcome outcome;
  for (const std::string& piece : pieces) outcome.text += filter.push(piece);
  outcome.text += filter.flush();
  outcome.matched = filter.matched();
  return outcome;
}

std::vector<std::string> random_pieces(const std::string& text, std::mt19937& random) {
  std::vector<std::string> pieces;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t size = random() % 4;
    pieces.push_back(text.substr(at, size));
    at += size;
  }
  return pieces;
}

TEST(StopSequenceFilter, FindsTheSameWhereverTheTextIsCut) {
  const std::vector<std::string> sequences = {"\n\nHuman:", "</s>", "\n\nH", "END"};
  for (const std::string text : {"Hello\n\nHuman: who",
                                 "a</s>b",
                                 "\n\n\n\nH",
                                 "ENEND",
                                 "EN</END",
                                 "no match at all",
                                 "held back\n\n"}) {
    const Outcome expected = model(text, sequences);
    for (std::size_t cut = 0; cut <= text.size(); ++cut)
      EXPECT_EQ(run({text.substr(0, cut), text.substr(cut)}, sequences), expected)
          << text << " cut at " << cut;
  }
}

// Two letters make overlaps, borders and near misses frequent.
TEST(StopSequenceFilter, AgreesWithTheModelOnRandomTextsAndPieces) {
  for (unsigned seed = 1; seed <= 4000; ++seed) {
    std::mt19937 random(seed);
    const auto random_text = [&](std::size_t size) {
      std::string text(size, 'a');
      for (char& c : text) c = static_cast<char>('a' + random() % 2);
      return text;
    };
    std::vector<std::string> sequences(random() % 4);
    for (std::string& sequence : sequences) sequence = random_text(1 + random() % 7);
    const std::string text = random_text(random() % 40);
    EXPECT_EQ(run(random_pieces(text, random), sequences), model(text, sequences))
        << "seed " << seed;
  }
}

TEST(StopSequenceFilter, HoldsBackOnlyWhatMayStillMatch) {
  StopSequenceFilter filter({"STOP"});
  EXPECT_EQ(filter.push("a S"), "a ");
  EXPECT_EQ(filter.push("T"), "");
  EXPECT_EQ(filter.push("S"), "ST");
  EXPECT_EQ(filter.push("x"), "Sx");
  EXPECT_EQ(filter.flush(), "");
}

TEST(StopSequenceFilter, GivesNothingOutAfterAMatch) {
  StopSequenceFilter filter({"", "b"});
  EXPECT_EQ(filter.push("abc"), "a");
  EXPECT_EQ(filter.matched(), 1u);
  EXPECT_EQ(filter.push("more b"), "");
  EXPECT_EQ(filter.flush(), "");
}

TEST(StopSequenceFilter, KeepsUtf8Whole) {
  StopSequenceFilter filter({"é!", "😀😀"});
  EXPECT_EQ(filter.push("caf"), "caf");
  EXPECT_EQ(filter.push("é"), "");
  EXPECT_EQ(filter.push("ê😀"), "éê");
  EXPECT_EQ(filter.push("😀"), "");
  EXPECT_EQ(filter.matched(), 1u);
}

// A thousand equal letters against a thousand equal letters: quadratic code would take minutes.
TEST(StopSequenceFilter, TakesLinearTimeOnItsWorstText) {
  std::vector<std::string> sequences(64, std::string(1023, 'a') + "b");
  StopSequenceFilter filter(std::move(sequences));
  std::size_t given = 0;
  for (int i = 0; i < 20'000; ++i) given += filter.push("a").size();
  EXPECT_EQ(given, 20'000u - 1023u);
  EXPECT_EQ(filter.flush().size(), 1023u);
}

}  // namespace
}  // namespace pensieve::engine
