// A template as a tree.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "jinja/value.h"

namespace runnel::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Expr {
  enum class Kind {
    kConstant,
    kName,
    kTuple,
    kList,
    kDict,    // operands: key, value, key, value, ...
    kUnary,   // name: the operator
    kBinary,  // name: the operator
    kAnd,
    kOr,
    kNot,
    kCompare,      // operators: one fewer than operands
    kConditional,  // operands: then, condition, otherwise (may be null)
    kAttribute,    // operands: object; name
    kItem,         // operands: object, key
    kSlice,        // operands: object, start, stop, step (the last three may be null)
    kCall,         // operands: what is called, arguments
    kFilter,       // operands: input (null in a filter block), arguments; name
    kTest,         // operands: input, arguments; name
  };
  Kind kind;
  int line = 0;
  std::string name = {};
  Value constant = {};
  std::vector<ExprPtr> operands = {};
  std::vector<std::string> operators = {};
  std::vector<std::pair<std::string, ExprPtr>> named = {};  // arguments
};

struct Node;
using Block = std::vector<Node>;

struct Macro {
  std::string name;
  std::vector<std::string> parameters;
  std::vector<ExprPtr> defaults;  // of the last parameters
  Block body;
};

struct Node {
  enum class Kind {
    kData,         // data
    kOutput,       // expression
    kIf,           // branches; otherwise
    kFor,          // target, expression, filter (may be null), body, otherwise
    kSet,          // target, expression
    kSetBlock,     // target, expression (a chain of filters, or null), body
    kWith,         // targets with values as kSet nodes in `otherwise`, body
    kMacro,        // macro
    kCallBlock,    // expression; macro is the caller
    kFilterBlock,  // expression, body
    kScope,        // body: {% generation %}
    kBreak,
    kContinue,
  };
  Kind kind;
  int line = 0;
  Value data = {};
  ExprPtr target = {};
  ExprPtr expression = {};
  ExprPtr filter = {};
  Block body = {};
  Block otherwise = {};
  std::vector<std::pair<ExprPtr, Block>> branches = {};
  std::unique_ptr<Macro> macro = {};
};

}  // namespace runnel::jinja
