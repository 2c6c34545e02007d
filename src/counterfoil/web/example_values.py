"""What several examples of the document show: one invoice, and its payment."""

_TOKEN = "q3mGZ1v7Tt2cYH0xkUeW9A"  # noqa: S105  # an example
IDENTITY = {
    "id": 12345,
    "share_token": _TOKEN,
    "created_at": "2025-11-11T11:11:00.000Z",
    "pay_url": f"https://pay.example.com/pay-invoice?share_token={_TOKEN}",
}
INVOICE = {
    **IDENTITY,
    "fiat_amount": "25.00",
    "fiat_currency": "USD",
    "status": "Paid",
    "updated_at": "2025-11-11T11:25:00.000Z",
    "due_at": None,
    "coin_symbol": None,
    "type": "api",
    "wallet_address": None,
    "memo": "",
    "client_name": "",
    "client_email": "",
    "invoice_title": "",
    "invoice_message": "",
    "exceptions": [],
    "exception": None,
    "paid_at": "2025-11-11T11:25:00.000Z",
    "order_id": "order-1001",
    "metadata": {"cart": "77"},
    "redirect_url": None,
    "coins": [],
    "test": False,
}
TXID = "b1fea52486ce0c62bb442b530a3f0132b826c74e473d1f2c220bfa78111c5082"
PAYMENT = {
    "id": 6789,
    "method": "LTC",
    "txid": TXID,
    "index": 0,
    "amount": "0.25",
    "confirmations": 2,
    "state": "confirming",
    "fiat_value": "25.00",
    "first_seen_at": "2025-11-11T11:20:00.000Z",
}
