"""The stack that we are compared with: FastAPI, pydantic, SQLAlchemy's ORM, one commit a request.

As its documentation shows it, and as one would write it in an afternoon. It checks the key and the
fields, stores the invoice, and answers the same document; it does nothing else that we do.
"""

import hashlib
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel, Field
from sqlalchemy import ForeignKey, event, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

KEY = "naive-key"


class Base(DeclarativeBase):
    """The tables."""


class ApiKey(Base):
    """A key, by its digest."""

    __tablename__ = "api_key"
    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(unique=True)


class Invoice(Base):
    """An invoice, indexed as ours are."""

    __tablename__ = "invoice"
    id: Mapped[int] = mapped_column(primary_key=True)
    api_key_id: Mapped[int] = mapped_column(ForeignKey("api_key.id"), index=True)
    share_token: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[str] = mapped_column(index=True)
    amount: Mapped[str]
    fiat_currency: Mapped[str]
    status: Mapped[str]
    memo: Mapped[str]


class NewInvoice(BaseModel):
    """What is asked for."""

    amount: Decimal = Field(gt=0, max_digits=17, decimal_places=2)
    fiat_currency: str = Field(min_length=3, max_length=3)
    memo: str = Field(default="", max_length=500)


class Created(BaseModel):
    """What is answered of an invoice."""

    id: int
    share_token: str
    created_at: str
    pay_url: str


class Answer(BaseModel):
    """The answer."""

    success: bool
    invoice: Created


def build(url: str) -> FastAPI:
    """Return the app on a database."""
    engine = create_async_engine(url)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine.sync_engine, "connect")
        def be_durable(connection: Any, _record: Any) -> None:
            cursor = connection.cursor()
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
                cursor.execute(f"PRAGMA {pragma}")
            cursor.close()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with sessions() as session:
            session.add(ApiKey(digest=hashlib.sha256(KEY.encode()).hexdigest()))
            await session.commit()
        yield
        await engine.dispose()

    async def session() -> AsyncIterator[AsyncSession]:
        async with sessions() as each:
            yield each

    async def key(
        authorization: Annotated[str, Header()], db: Annotated[AsyncSession, Depends(session)]
    ) -> ApiKey:
        digest = hashlib.sha256(authorization.encode()).hexdigest()
        found = await db.scalar(select(ApiKey).where(ApiKey.digest == digest))
        if found is None:
            raise HTTPException(401)
        return found

    async def create(
        new: NewInvoice,
        db: Annotated[AsyncSession, Depends(session)],
        owner: Annotated[ApiKey, Depends(key)],
    ) -> Answer:
        invoice = Invoice(
            api_key_id=owner.id,
            share_token=secrets.token_urlsafe(16),
            created_at=datetime.now(UTC).isoformat(),
            amount=str(new.amount),
            fiat_currency=new.fiat_currency,
            status="Unpaid",
            memo=new.memo,
        )
        db.add(invoice)
        await db.commit()
        return Answer(
            success=True,
            invoice=Created(
                id=invoice.id,
                share_token=invoice.share_token,
                created_at=invoice.created_at,
                pay_url=f"http://127.0.0.1/pay?share_token={invoice.share_token}",
            ),
        )

    app = FastAPI(lifespan=lifespan)
    app.add_api_route("/api/invoice", create, methods=["POST"], response_model=Answer)
    return app


if __name__ == "__main__":
    uvicorn.run(
        build(sys.argv[2]),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
        access_log=False,
        loop="uvloop",
        http="httptools",
        ws="none",
    )
